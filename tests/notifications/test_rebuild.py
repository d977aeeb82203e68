"""Rebuilding read models tells nobody anything, and makes the rows that were there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from okr.checkins.v1 import checkins_pb2, rhythm_pb2
from okr_chassis.codecs import codec_of
from okr_eventstore.postgres_source import PostgresSource
from okr_eventstore.rebuild import rebuild, verify
from tests.alignment.test_service import align, unalign
from tests.checkins.town import Firm, Town, a_town, new
from tests.notifications.test_service import inbox, record


@pytest.fixture
async def town(fresh_dsn: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with a_town(fresh_dsn, tmp_path) as town:
        yield town


async def a_busy_day(firm: Firm) -> None:
    """Something of everything that these services record."""
    company = await firm.objective("Company")
    objective_id, key_result_id = await firm.open_key_result()
    await align(firm.ana, firm.cycle_id, objective_id, company)
    await unalign(firm.ana, firm.cycle_id, objective_id)
    await align(firm.ana, firm.cycle_id, objective_id, company)
    check_in_id = await record(firm.ana, key_result_id, "20.50")
    await record(firm.ana, key_result_id, "7", occurred_at="2026-02-01T09:00:00Z")
    await firm.ana.checkins.CorrectCheckIn(
        checkins_pb2.CorrectCheckInRequest(
            request_id=new(),
            check_in_id=check_in_id,
            key_result_id=key_result_id,
            value="60",
            note="counted again",
            reason="typed wrongly",
        )
    )
    await firm.ana.rhythm.ChooseCadence(
        rhythm_pb2.ChooseCadenceRequest(request_id=new(), cycle_id=firm.cycle_id, weekday=rhythm_pb2.WEEKDAY_THURSDAY)
    )
    await firm.close(objective_id)


@pytest.mark.parametrize("name", ["checkins", "alignment", "notifications"])
async def test_a_rebuild_makes_equal_rows_and_tells_nobody(town: Town, name: str) -> None:
    firms = [await town.firm() for _ in range(3)]
    for firm in firms:
        await a_busy_day(firm)
    before = [await inbox(town, firm.ana) for firm in firms]
    heads = await town.platform.logs["notifications"].heads()
    assert all(before)

    running = town.platform.services[name]
    for subscription in running.service.subscriptions:
        if (projection := subscription.projection) is None:
            continue
        log = town.platform.logs[projection.source]
        source = PostgresSource(projection.source, log.database, codec_of(projection.source))
        verdict = await verify(projection, running.host.database, source)
        assert verdict.equal and verdict.events, verdict
        rebuilt = await rebuild(projection, running.host.database, source)
        assert rebuilt.equal and rebuilt.rows, rebuilt

    assert [await inbox(town, firm.ana) for firm in firms] == before
    assert await town.platform.logs["notifications"].heads() == heads
