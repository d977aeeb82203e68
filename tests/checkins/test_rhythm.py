"""The rhythm over gRPC and its clock on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from msgspec import Struct

from okr.checkins.v1 import rhythm_pb2 as pb
from okr.common.v1 import common_pb2
from okr.directory.v1 import directory_pb2
from okr_chassis.service import Reader
from okr_checkins.rhythm import scheduler
from okr_checkins.rhythm.scheduler import DutySweep
from okr_contracts.checkins import CheckInDue
from okr_contracts.goals import ChampionAssigned, KeyResultDefined, KeyResultOpened, ObjectiveDrafted
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, NewEvent, RecordedEvent, shard_of
from tests.checkins.test_service import record
from tests.checkins.town import NOW, Firm, Town, Voice, a_town, new, refused

AFTER_A_QUARTER = datetime(2026, 4, 20, 12, tzinfo=UTC)
LEFT = ["2026-02-17", "2026-03-03", "2026-03-17", "2026-03-31"]
"""The due days that are left of the cycle on NOW, when these key results are opened."""


@pytest.fixture
async def own_town(fresh_dsn: str, tmp_path: Path) -> AsyncIterator[Town]:
    """A platform of one's own, for tests that move its clock far."""
    async with a_town(fresh_dsn, tmp_path) as town:
        yield town


class CountingReader(Reader):
    """A reader that counts its questions, and may be told to break at one of them."""

    def __init__(self, town: Town, breaks_at: int | None = None) -> None:
        host = town.platform.services["checkins"].host
        super().__init__("checkins", host.database)
        self.questions = 0
        self.breaks_at = breaks_at

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        self.questions += 1
        if self.questions == self.breaks_at:
            raise ConnectionError("killed before a question")
        return await super().fetch(sql, *args)


def sweep_of(town: Town, reader: Reader | None = None) -> DutySweep:
    """A scheduler as another copy of the service would run it: with a memory of its own."""
    host = town.platform.services["checkins"].host
    assert host.log is not None
    return DutySweep(host.log, reader or host.reader, host.clock)


async def listed(voice: Voice, **asked: Any) -> list[pb.Duty]:
    answer = await voice.rhythm.ListDuties(pb.ListDutiesRequest(**asked))
    return list(answer.duties)


async def duty_events(town: Town, organization_id: UUID) -> list[RecordedEvent]:
    log = town.platform.logs["checkins"]
    events = await log.read_shard(shard_of(organization_id), 0, 100_000, organization_id)
    return [event for event in events if event.stream_id.startswith("duty-")]


async def tell(log: EventLog, organization_id: UUID, stream_id: str, facts: Sequence[Struct]) -> None:
    context = CommandContext(organization_id, uuid4(), sha256(stream_id.encode()).digest(), "service:test", uuid4())
    await log.append(stream_id, 0, [NewEvent(fact) for fact in facts], context)


async def many_key_results(firm: Firm, objectives: int, each: int) -> None:
    """Open key results by the hundred, as goals would tell of them."""
    person_id = UUID(firm.ana.person_id)
    for _ in range(objectives):
        objective_id = uuid4()
        facts: list[Struct] = [
            ObjectiveDrafted(
                objective_id=objective_id,
                cycle_id=UUID(firm.cycle_id),
                unit_id=UUID(firm.unit_id),
                owner_id=person_id,
                title="Grow",
                cycle_starts_on=date(2026, 1, 1),
                cycle_ends_on=date(2026, 3, 31),
            )
        ]
        for _ in range(each):
            key_result_id = uuid4()
            facts += [
                KeyResultDefined(
                    key_result_id=key_result_id,
                    objective_id=objective_id,
                    title="Regulars",
                    type="increase",
                    start=Decimal(0),
                    commit=Decimal(50),
                    target=Decimal(100),
                    unit="%",
                    starts_on=date(2026, 1, 1),
                    due_on=date(2026, 3, 31),
                ),
                ChampionAssigned(key_result_id, objective_id, person_id, "accountable", "Regulars"),
                KeyResultOpened(key_result_id=key_result_id, objective_id=objective_id, starts_on=date(2026, 1, 1)),
            ]
        await tell(firm.town.platform.logs["goals"], firm.organization_id, f"objective-{objective_id}", facts)
    await firm.town.platform.wait_idle()


# --- who owes what ---------------------------------------------------------------------------------


async def test_duties_are_the_callers_own_or_of_whom_one_asks(town: Town, firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    ben = town.voice(firm.organization_id)
    await town.platform.wait_idle()

    (mine,) = await listed(firm.ana)
    assert mine.key_result_id == key_result_id
    assert (mine.holder_id, mine.role) == (firm.ana.person_id, pb.DUTY_ROLE_ACCOUNTABLE)
    assert (mine.state, mine.due_on) == (pb.DUTY_STATE_UPCOMING, "2026-02-17")
    assert (mine.value_at, mine.last_check_in_at) == ("", "")
    assert await listed(ben) == []
    assert await listed(ben, person_id=firm.ana.person_id) == [mine]
    assert await listed(ben, everybody=True) == [mine]
    assert await listed((await town.firm()).ana, everybody=True) == []


async def test_duties_of_a_unit_are_those_of_the_units_below_it_too(town: Town, firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    parent, elsewhere = new(), new()
    for unit_id in (parent, elsewhere):
        await firm.ana.directory.AddUnit(
            directory_pb2.AddUnitRequest(
                request_id=new(), unit_id=unit_id, name=f"Unit {unit_id}", kind=directory_pb2.UNIT_KIND_DEPARTMENT
            )
        )
    await firm.ana.directory.MoveUnit(
        directory_pb2.MoveUnitRequest(request_id=new(), unit_id=firm.unit_id, parent_unit_id=parent)
    )
    await town.platform.wait_idle()
    assert [each.key_result_id for each in await listed(firm.ana, unit_id=parent)] == [key_result_id]
    assert [each.key_result_id for each in await listed(firm.ana, unit_id=firm.unit_id)] == [key_result_id]
    assert await listed(firm.ana, unit_id=elsewhere) == []


async def test_duties_come_in_pages_and_a_closed_key_result_has_none(town: Town, firm: Firm) -> None:
    opened = [await firm.open_key_result() for _ in range(5)]
    await firm.close(opened[0][0])
    await town.platform.wait_idle()
    seen, token = [], ""
    for _ in range(2):
        answer = await firm.ana.rhythm.ListDuties(
            pb.ListDutiesRequest(page=common_pb2.PageRequest(size=2, token=token))
        )
        seen += [each.key_result_id for each in answer.duties]
        token = answer.next_page_token
    assert (seen, token) == (sorted(key_result_id for _, key_result_id in opened[1:]), "")


async def test_a_check_in_answers_the_duty_at_once(town: Town, firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    done = await record(firm.ana, key_result_id, "5")
    await town.platform.wait_idle()
    (duty,) = await listed(firm.ana, min_positions=[done.receipt.position])
    assert (duty.state, duty.due_on, duty.next_due_on) == (pb.DUTY_STATE_ON_TIME, "2026-02-17", "2026-03-03")
    assert duty.last_check_in_at == NOW.isoformat().replace("+00:00", "Z")


async def test_a_value_dated_back_counts_when_it_is_said(town: Town, firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    await record(firm.ana, key_result_id, "5", occurred_at="2026-01-10T09:00:00Z")
    await town.platform.wait_idle()
    (duty,) = await listed(firm.ana)
    assert duty.state == pb.DUTY_STATE_ON_TIME
    assert (duty.value_at, duty.last_check_in_at) == ("2026-01-10T09:00:00Z", "2026-02-15T12:00:00Z")


async def test_malformed_questions_are_refused(firm: Firm) -> None:
    for call, field in (
        (firm.ana.rhythm.ListDuties(pb.ListDutiesRequest(person_id="ana")), "person_id"),
        (firm.ana.rhythm.ListDuties(pb.ListDutiesRequest(unit_id="")), "unit_id"),
        (firm.ana.rhythm.ListDuties(pb.ListDutiesRequest(min_positions=["x"])), "min_positions.0"),
        (firm.ana.rhythm.GetCadence(pb.GetCadenceRequest(cycle_id="q1")), "cycle_id"),
        (firm.ana.rhythm.ChooseCadence(pb.ChooseCadenceRequest(request_id=new(), step_days=92)), "step_days"),
    ):
        refusal = await refused(call)
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert [violation.field for violation in refusal.violations] == [field]


# --- how often -------------------------------------------------------------------------------------


async def cadence(firm: Firm, *positions: str) -> pb.GetCadenceResponse:
    request = pb.GetCadenceRequest(cycle_id=firm.cycle_id, min_positions=positions)
    return await firm.ana.rhythm.GetCadence(request)


async def choose(firm: Firm, step_days: int = 0, weekday: Any = 0, **more: Any) -> str:
    request: dict[str, Any] = {"request_id": new(), "cycle_id": firm.cycle_id, **more}
    done = await firm.ana.rhythm.ChooseCadence(pb.ChooseCadenceRequest(step_days=step_days, weekday=weekday, **request))
    return str(done.receipt.position)


async def test_a_quarter_is_checked_in_every_other_tuesday_unless_somebody_says_otherwise(firm: Firm) -> None:
    usual = await cadence(firm)
    assert (usual.step_days, usual.weekday, usual.is_default) == (14, pb.WEEKDAY_TUESDAY, True)
    assert list(usual.due_days) == ["2026-01-20", "2026-02-03", *LEFT]

    changed = await cadence(firm, await choose(firm, 21, pb.WEEKDAY_THURSDAY))
    assert (changed.step_days, changed.weekday, changed.is_default) == (21, pb.WEEKDAY_THURSDAY, False)
    assert list(changed.due_days)[:3] == ["2026-01-20", "2026-02-03", "2026-03-05"]


@pytest.mark.parametrize(("step_days", "reason"), [(7, "WEEKLY_IS_EXCESSIVE"), (28, "MONTHLY_IS_TOO_RARE")])
async def test_weekly_and_monthly_are_explained_and_then_confirmed(firm: Firm, step_days: int, reason: str) -> None:
    refusal = await refused(choose(firm, step_days))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, reason)
    assert "every other week is usual" in refusal.message
    assert (await cadence(firm, await choose(firm, step_days, confirmed=True))).step_days == step_days


async def test_a_weekday_for_all_cycles_is_followed_by_those_without_a_rhythm_of_their_own(firm: Firm) -> None:
    position = await choose(firm, 0, pb.WEEKDAY_FRIDAY, cycle_id="")
    assert (await cadence(firm, position)).weekday == pb.WEEKDAY_FRIDAY
    assert (await refused(choose(firm, 14, cycle_id=""))).reason == "STEP_NEEDS_A_CYCLE"


async def test_an_unknown_cycle_has_no_rhythm(firm: Firm) -> None:
    refusal = await refused(choose(firm, 14, cycle_id=new()))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "CYCLE_NOT_FOUND")


# --- the clock -------------------------------------------------------------------------------------


async def test_many_duties_at_one_instant_cost_a_few_statements_a_page(
    own_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "PAGE_KEY_RESULTS", 100)
    firm = await own_town.firm()
    await many_key_results(firm, objectives=4, each=90)
    own_town.clock.set(datetime(2026, 2, 17, 9, tzinfo=UTC))
    appender = own_town.platform.logs["checkins"].appender
    before, reader = sum(appender.batch_sizes), CountingReader(own_town)

    assert await sweep_of(own_town, reader).sweep() == 360

    assert reader.questions == 4 * 3, "four pages, three questions each"
    assert sum(appender.batch_sizes) - before <= 360 / 15
    events = await duty_events(own_town, firm.organization_id)
    assert len({event.stream_id for event in events}) == len(events) == 360
    await own_town.platform.wait_idle()
    assert await sweep_of(own_town).sweep() == 0


async def test_copies_that_sweep_at_the_same_time_tell_each_fact_once(
    own_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "PAGE_KEY_RESULTS", 7)
    firm = await own_town.firm()
    await many_key_results(firm, objectives=4, each=10)
    for now in (datetime(2026, 2, 17, 9, tzinfo=UTC), datetime(2026, 2, 18, 9, tzinfo=UTC), AFTER_A_QUARTER):
        own_town.clock.set(now)
        await asyncio.gather(*(sweep_of(own_town).sweep() for _ in range(4)))
        await own_town.platform.wait_idle()

    events = await duty_events(own_town, firm.organization_id)
    told = [(event.stream_id, event.type, event.occurred_at) for event in events]
    assert len(told) == len(set(told)) == 40 * len(LEFT) * len(("due", "overdue", "escalated", "missed"))
    assert {f"{event.data.due_on}" for event in events if isinstance(event.data, CheckInDue)} == set(LEFT)


async def test_a_scheduler_that_dies_at_any_step_leaves_the_rest_to_the_next(
    own_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every question and after every append whose answer is lost: what was told stays, what was not is told."""
    monkeypatch.setattr(scheduler, "PAGE_KEY_RESULTS", 5)
    firm = await own_town.firm()
    await many_key_results(firm, objectives=2, each=10)
    own_town.clock.set(AFTER_A_QUARTER)
    log = own_town.platform.logs["checkins"]
    append = log.append

    left = kills = 0

    async def lost(*args: Any) -> Any:
        nonlocal left
        done = await append(*args)
        left -= 1
        if left <= 0:
            raise ConnectionError("killed after a commit")
        return done

    monkeypatch.setattr(log, "append", lost)
    for step in range(1, 14):
        breaks_at, left = (step, 1_000) if step % 2 else (None, step)
        try:
            await sweep_of(own_town, CountingReader(own_town, breaks_at)).sweep()
        except ConnectionError:
            kills += 1
        if step % 3 == 0:
            await own_town.platform.wait_idle()
    monkeypatch.setattr(log, "append", append)
    assert kills >= 6
    await own_town.platform.wait_idle()
    await sweep_of(own_town).sweep()
    await own_town.platform.wait_idle()
    assert await sweep_of(own_town).sweep() == 0

    events = await duty_events(own_town, firm.organization_id)
    told = [(event.stream_id, event.type, event.occurred_at) for event in events]
    assert len(told) == len(set(told)) == 20 * len(LEFT) * 4


async def test_nothing_is_told_before_all_is_heard_that_was_said(
    own_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage the check-ins are in the log and not yet in the rows: nobody who made one is called late."""
    firm = await own_town.firm()
    _, key_result_id = await firm.open_key_result()
    await own_town.platform.wait_idle()
    monkeypatch.setattr(scheduler, "HEARING_SECONDS", 0.0)
    own_town.clock.set(datetime(2026, 2, 17, 8, tzinfo=UTC))
    async with own_town.platform.consumers_resting():
        await record(firm.ana, key_result_id, "5")
        own_town.clock.set(datetime(2026, 2, 18, 9, tzinfo=UTC))
        assert await sweep_of(own_town).sweep() == 0
    await own_town.platform.wait_idle()
    assert await sweep_of(own_town).sweep() == 1
    (due,) = await duty_events(own_town, firm.organization_id)
    assert isinstance(due.data, CheckInDue)
    assert due.data.answered


async def test_the_sweep_is_due_at_the_start_ten_minutes_later_and_when_the_clock_was_set_back(own_town: Town) -> None:
    sweep = sweep_of(own_town)
    assert sweep.is_due()
    await sweep.sweep()
    assert not sweep.is_due()
    own_town.clock.advance(timedelta(minutes=10))
    assert sweep.is_due()
    own_town.clock.set(NOW - timedelta(days=1))
    assert sweep.is_due()
