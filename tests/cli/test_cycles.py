"""`okr cycle`, `okr grade` and `okr carry-over`, as a manager meets them at the end of a quarter."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from okr_chassis.clock import ManualClock
from okr_cli.commands import cycling, grading, reading
from okr_cli.failures import RefusedError, SetupError
from okr_cli.output import Output
from okr_cli.session import Session
from tests.journeys.town import FEBRUARY, NEW_YEAR, SERVICES, objective, organization_of_a_new_shard, settle_in
from tests.support.house import house, new_id


async def test_a_quarter_is_graded_closed_and_gone_on_with(
    fresh_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(NEW_YEAR)
    async with house(fresh_dsn, tmp_path, SERVICES, clock) as built:
        town = await settle_in(built, clock, organization_of_a_new_shard())
        assert built.platform.issuer is not None
        monkeypatch.setenv("OKR_TOKEN", built.platform.issuer.issue(town.ana.organization_id, town.ana.person_id))
        monkeypatch.setenv("OKR_GRPC_PORT", built.platform.address.rpartition(":")[2])
        monkeypatch.setenv("COLUMNS", "160")
        said = io.StringIO()

        def session(as_json: bool = False) -> Session:
            said.truncate(0)
            said.seek(0)
            return Session(Output(as_json, said, said))

        def document() -> Any:
            return json.loads(said.getvalue())

        clock.set(FEBRUARY)
        await town.check_in("27")
        await town.settle()

        with pytest.raises(RefusedError, match="open its grading"):
            await cycling.close(session(), "q1")
        with pytest.raises(RefusedError, match="known: Q1"):
            await cycling.close(session(), "autumn")
        await cycling.open_grading(session(), "q1")
        await town.settle()
        with pytest.raises(RefusedError) as missing:
            await cycling.close(session(), "q1")
        assert missing.value.details == ("Win rate: of 'Predictable, healthy growth'",)

        await grading.grade(session())
        assert "Win rate" in said.getvalue()
        assert "to give" in said.getvalue()
        await grading.grade(session(as_json=True))
        (listed,) = document()["grades"]
        assert (listed["value"], listed["computed"], listed["grade"]) == ("27", "0.5800", None)
        assert listed["explanation"].endswith("score 0.58 (rule grading, version 2026-1).")
        with pytest.raises(SetupError, match="which KR"):
            await grading.grade(session(), final="0.7")
        with pytest.raises(RefusedError, match="needs a reason"):
            await grading.grade(session(), "win rate", final="0.7")
        await grading.grade(session(), "win rate", final="70%", reason="A rival was bought")
        assert "Win rate: 0.7, commit (the rules say 0.58)." in said.getvalue()

        await cycling.close(session(as_json=True), "q1")
        assert (document()["cycle"]["state"], document()["mean"], document()["zones"]["commit"]) == (
            "closed",
            "0.7000",
            1,
        )
        await reading.board(session(as_json=True), cycle="q1", at_the_end=True)
        assert [each["state"] for each in document()["objectives"]] == ["closed"]
        with pytest.raises(SetupError, match="whose end"):
            await reading.board(session(), at_the_end=True)

        await cycling.draft(session(as_json=True), "Q2", "2026-04-01", "2026-06-30")
        cycle_id, into = document()["cycle_id"], new_id()
        await town.ana.goals.DraftObjective(objective(town, objective_id=into, cycle_id=cycle_id, title="More of it"))
        await town.settle()
        await grading.carry_over(session(), "win rate", "more of it")
        assert "Win rate goes on in More of it: from 27, commit 28.5, target 30 %." in said.getvalue()
        await cycling.cancel(session(), "q2", "We are merging")
        await town.settle()
        await cycling.show(session(as_json=True))
        assert [(each["name"], each["state"]) for each in document()["cycles"]] == [
            ("Q2", "cancelled"),
            ("Q1", "closed"),
        ]
