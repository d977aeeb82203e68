"""What the read models make of events that no test through gRPC would bring in this order."""

from datetime import UTC, date, datetime
from decimal import Decimal as D
from uuid import UUID

from msgspec import Struct

from okr_contracts.checkins import CheckInCorrected, CheckInRecorded, CheckInsClosed
from okr_contracts.directory import PersonRegistered, UnitAdded, UnitRenamed
from okr_contracts.goals import ImportAccepted, ImportCompleted, ImportObjectiveApplied, ImportObjectivePlanned
from okr_eventstore.folding import FoldedRows
from okr_eventstore.model import RecordedEvent
from okr_eventstore.projection import Projection, RowT
from okr_goals import replica
from okr_goals.read_model import ImportRow, latest, plans
from okr_goals.replica import KnownPersonRow, KnownUnitRow, LastValueRow
from tests.support.sealed import sealed

ORGANIZATION, KEY_RESULT, FIRST, SECOND, IMPORT = (UUID(int=number) for number in range(1, 6))
MONDAY, TUESDAY = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC)


def folded(projection: Projection, kind: type[RowT], *facts: Struct) -> list[RowT]:
    """The rows of one kind after these facts, all of one stream."""
    rows = FoldedRows(projection.rows, complete=True)
    events = [
        RecordedEvent(
            shard=0,
            position=number,
            organization_id=ORGANIZATION,
            stream_id="stream-1",
            version=number,
            event_id=UUID(int=number),
            type=type(fact).__name__,
            schema_version=1,
            recorded_at=TUESDAY,
            occurred_at=TUESDAY,
            command_id=UUID(int=number),
            causation_id=None,
            correlation_id=UUID(int=number),
            actor="person:1",
            data=fact,
        )
        for number, fact in enumerate(facts, start=1)
    ]
    error = rows.fold(projection.project, events)
    assert error is None
    return [row for row, _ in rows.kept[kind].final()]


def recorded(check_in_id: UUID, value: str, at: datetime) -> CheckInRecorded:
    return CheckInRecorded(
        check_in_id=check_in_id,
        key_result_id=KEY_RESULT,
        value=D(value),
        confidence=D("0.5"),
        note=None,
        occurred_at=at,
    )


def corrected(check_in_id: UUID, value: str, at: datetime) -> CheckInCorrected:
    return CheckInCorrected(
        check_in_id=check_in_id,
        key_result_id=KEY_RESULT,
        value=D(value),
        confidence=D("0.5"),
        note=None,
        occurred_at=at,
        reason=sealed("typed wrongly"),
    )


def value_after(*facts: Struct) -> D | None:
    (row,) = folded(replica.check_ins, LastValueRow, *facts)
    return row.value


def test_a_key_result_stands_at_the_check_in_that_was_true_last() -> None:
    assert value_after(recorded(FIRST, "5", MONDAY), recorded(SECOND, "7", TUESDAY)) == 7
    assert value_after(recorded(SECOND, "7", TUESDAY), recorded(FIRST, "5", MONDAY)) == 7
    assert value_after(recorded(FIRST, "5", MONDAY), recorded(SECOND, "7", MONDAY)) == 7


def test_a_correction_counts_where_its_check_in_does() -> None:
    before = (recorded(FIRST, "5", MONDAY), recorded(SECOND, "7", TUESDAY))
    assert value_after(*before, corrected(SECOND, "8", TUESDAY)) == 8
    assert value_after(*before, corrected(FIRST, "6", MONDAY)) == 7


def test_facts_that_are_not_ours_pass_by() -> None:
    assert folded(replica.check_ins, LastValueRow, CheckInsClosed(key_result_id=KEY_RESULT)) == []
    assert folded(replica.directory, KnownUnitRow, UnitRenamed(unit_id=FIRST, name="Sales")) == []


def test_units_and_people_are_known_once_they_are_heard_of() -> None:
    facts = (UnitAdded(unit_id=FIRST, name="Sales", kind="department"), PersonRegistered(person_id=SECOND))
    assert folded(replica.directory, KnownUnitRow, *facts) == [KnownUnitRow(ORGANIZATION, FIRST)]
    assert folded(replica.directory, KnownPersonRow, *facts) == [KnownPersonRow(ORGANIZATION, SECOND)]


def test_an_import_knows_how_far_it_is_and_how_far_others_must_be_heard() -> None:
    accepted = ImportAccepted(
        import_id=IMPORT,
        source="okrs.csv",
        cycle_id=FIRST,
        cycle_name="Q1",
        cycle_starts_on=date(2026, 1, 1),
        cycle_ends_on=date(2026, 3, 31),
        rows=3,
        units=(),
        objectives=1,
        positions=("directory:0:1:5",),
    )
    planned = ImportObjectivePlanned(
        import_id=IMPORT,
        objective_id=FIRST,
        title="Grow",
        unit_id=SECOND,
        owner_id=SECOND,
        parent_objective_id=None,
        key_results=(),
    )
    applied = ImportObjectiveApplied(
        import_id=IMPORT, objective_id=FIRST, positions=("checkins:0:1:9", "directory:0:1:4")
    )
    facts = (accepted, planned, applied, ImportCompleted(import_id=IMPORT))
    (row,) = folded(plans, ImportRow, *facts)
    assert (row.rows_total, row.completed) == (3, True)
    assert row.positions == ("checkins:0:1:9", "directory:0:1:5")


def test_of_each_service_the_last_position_is_kept_in_one_order() -> None:
    assert latest(["goals:1:1:9", "goals:1:1:10", "checkins:1:1:3"]) == ("checkins:1:1:3", "goals:1:1:10")
    assert latest(["goals:1:1:10", "goals:1:2:9"]) == ("goals:1:2:9",)
    assert latest([]) == ()
