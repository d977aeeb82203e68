"""One correlation id finds the whole way of a check-in, through the lines of every service it touches."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from okr.checkins.v1 import checkins_pb2
from okr_chassis.clock import ManualClock
from okr_chassis.telemetry import logs
from okr_chassis.telemetry.correlation import HEADER
from tests.journeys.town import FEBRUARY, NEW_YEAR, SERVICES, organization_of_a_new_shard, settle_in
from tests.support.house import house, new_id

NOTE = "Two large deals with Contoso, thanks to Zoë"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Every line there is, as JSON."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("debug", terminal=False)
    monkeypatch.undo()
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_one_correlation_id_finds_the_whole_way_of_a_check_in(
    fresh_dsn: str, tmp_path: Path, written: io.StringIO
) -> None:
    clock = ManualClock(NEW_YEAR)
    async with house(fresh_dsn, tmp_path / "data", SERVICES, clock) as built:
        place = await settle_in(built, clock, organization_of_a_new_shard())
        await place.settle()
        clock.set(FEBRUARY)
        identifier = str(uuid4())
        await place.ana.checkins.RecordCheckIn(
            checkins_pb2.RecordCheckInRequest(
                request_id=new_id(), check_in_id=new_id(), key_result_id=place.key_result_id, value="26", note=NOTE
            ),
            metadata=((HEADER, identifier),),
        )
        await place.settle()
        issuer = built.platform.issuer
        assert issuer is not None
        token = issuer.issue(place.ana.organization_id, place.ana.person_id)

    lines: list[dict[str, Any]] = [json.loads(line) for line in written.getvalue().splitlines()]
    way = [(line.get("service"), line["event"]) for line in lines if line.get("correlation_id") == identifier]
    told = [
        f"{service}: {event.split(' in ')[0].split(' up to ')[0].split(' of checkins:')[0]}" for service, event in way
    ]
    steps = [
        "directory: okr.directory.v1.VaultService/GetAuthorKeys: done",
        "checkins: appended CheckInRecorded",
        "checkins: okr.checkins.v1.CheckInsService/RecordCheckIn: done",
        "insights: project insights.checkins: applied CheckInRecorded",
        "notifications: appended NotificationRaised",
        "notifications: react notifications.checkins: applied CheckInRecorded",
    ]
    assert [step for step in steps if step not in told] == []
    assert told.index(steps[0]) < told.index(steps[1]) < told.index(steps[4]) < told.index(steps[5])

    for secret in (NOTE, "Contoso", "Zoë", "Win rate", "Predictable", "Ana", token, token.rpartition(".")[2]):
        assert secret not in written.getvalue(), "what people wrote and who they are stays out of the log"
    assert all("service" in line for line in lines if "correlation_id" in line)
