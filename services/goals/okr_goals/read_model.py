"""What is read of goals: cycles, objectives with their key results, and how far imports have come."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple, Protocol, assert_never, cast
from uuid import UUID

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from okr_chassis.rpc.pages import Page
from okr_contracts.goals import (
    PLAIN,
    ChampionAssigned,
    ChampionReleased,
    ChampionRole,
    CycleActivated,
    CycleCancelled,
    CycleClosed,
    CycleClosing,
    CycleDrafted,
    CycleEvent,
    CycleGradingOpened,
    CyclePublished,
    GoalsEvent,
    GradeZone,
    ImportAccepted,
    ImportCompleted,
    ImportEvent,
    ImportObjectiveApplied,
    ImportObjectivePlanned,
    ImportRowRefused,
    KeyResultClosed,
    KeyResultDefined,
    KeyResultGraded,
    KeyResultOpened,
    LintOverridden,
    Measurement,
    ObjectiveActivated,
    ObjectiveCancelled,
    ObjectiveClosed,
    ObjectiveDrafted,
    ObjectiveEvent,
    PinnedRules,
    TargetRevised,
    TemplateKeyResult,
    TemplateSaved,
)
from okr_contracts.sealed import SealedText
from okr_eventstore.model import Position
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows


class CycleRow(Row, frozen=True):
    __table__ = "cycle"
    __key__ = ("organization_id", "cycle_id")

    organization_id: UUID
    cycle_id: UUID
    name: str = ""
    starts_on: date | None = None
    ends_on: date | None = None
    state: str = "draft"
    rules: PinnedRules | None = None
    positions: tuple[str, ...] = ()
    """How far each service's log went when the cycle was closed."""


class OverriddenRow(Struct, frozen=True):
    """A finding that somebody gave a reason for."""

    rule: str
    subject_id: UUID


class ObjectiveRow(Row, frozen=True):
    """Written by every event of its stream, so that its version is the stream's: the etag."""

    __table__ = "objective"
    __key__ = ("organization_id", "objective_id")
    __indexes__ = (("organization_id", "cycle_id", "objective_id"),)

    organization_id: UUID
    objective_id: UUID
    cycle_id: UUID | None = None
    unit_id: UUID | None = None
    owner_id: UUID | None = None
    title: str = ""
    state: str = "draft"
    outcome: str | None = None
    key_results: int = 0
    """How many were ever defined."""
    overridden: tuple[OverriddenRow, ...] = ()


class ChampionEntry(Struct, frozen=True):
    person_id: UUID
    role: ChampionRole


class GradeEntry(Struct, frozen=True):
    """What a key result came to; what people wrote with it stays sealed."""

    computed: Decimal
    final: Decimal
    zone: GradeZone
    rule_version: str
    reason: SealedText | None = None
    evidence: SealedText | None = None


class KeyResultRow(Row, frozen=True):
    """The objective is part of the key, because its stream is what the row is folded from."""

    __table__ = "key_result"
    __key__ = ("organization_id", "objective_id", "key_result_id")
    __indexes__ = (("organization_id", "key_result_id"),)

    organization_id: UUID
    objective_id: UUID
    key_result_id: UUID
    ordinal: int = 0
    """Its place among those of its objective: 1, 2, 3 … as they were defined."""
    title: str = ""
    type: str = "increase"
    start: Decimal | None = None
    commit: Decimal | None = None
    target: Decimal | None = None
    unit: str = ""
    starts_on: date | None = None
    due_on: date | None = None
    champions: tuple[ChampionEntry, ...] = ()
    open: bool = False
    measurement: Measurement = PLAIN
    continued_from: UUID | None = None
    grade: GradeEntry | None = None


class TemplateRow(Row, frozen=True):
    """A template of the organisation's own."""

    __table__ = "template"
    __key__ = ("organization_id", "template_id")

    organization_id: UUID
    template_id: UUID
    industry: str = ""
    function: str = ""
    objective: str = ""
    serves: str = ""
    key_results: tuple[TemplateKeyResult, ...] = ()


class RefusedRow(Struct, frozen=True):
    row: int
    reason: str
    message: str


class ImportRow(Row, frozen=True):
    __table__ = "import"
    __key__ = ("organization_id", "import_id")

    organization_id: UUID
    import_id: UUID
    rows_total: int = 0
    rows_done: int = 0
    completed: bool = False
    refused: tuple[RefusedRow, ...] = ()
    positions: tuple[str, ...] = ()
    """One a service: how far each must have been heard to see what the import did."""


class ImportObjectiveRow(Row, frozen=True):
    """How many rows of an import speak of an objective."""

    __table__ = "import_objective"
    __key__ = ("organization_id", "import_id", "objective_id")
    __history__ = False

    organization_id: UUID
    import_id: UUID
    objective_id: UUID
    rows: int = 0


def project(rows: Rows, event: ProjectedEvent) -> None:
    organization_id = event.organization_id
    match cast(GoalsEvent, event.data):
        case (
            CycleDrafted()
            | CyclePublished()
            | CycleActivated()
            | CycleGradingOpened()
            | CycleClosing()
            | CycleClosed()
            | CycleCancelled() as fact
        ):
            rows.put(_cycle(rows.get(CycleRow, organization_id, fact.cycle_id), fact))
        case (
            ImportAccepted()
            | ImportObjectivePlanned()
            | ImportRowRefused()
            | ImportObjectiveApplied()
            | ImportCompleted() as fact
        ):
            _project_import(rows, organization_id, fact)
        case TemplateSaved() as fact:
            rows.put(
                TemplateRow(
                    organization_id=organization_id,
                    template_id=fact.template_id,
                    industry=fact.industry,
                    function=fact.function,
                    objective=fact.objective,
                    serves=fact.serves,
                    key_results=fact.key_results,
                )
            )
        case fact:
            _project_objective(rows, organization_id, fact)


def _cycle(row: CycleRow, fact: CycleEvent) -> CycleRow:
    match fact:
        case CycleDrafted():
            return replace(row, name=fact.name, starts_on=fact.starts_on, ends_on=fact.ends_on)
        case CyclePublished():
            return replace(row, state="published", rules=fact.rules)
        case CycleActivated():
            return replace(row, state="active", rules=fact.rules or row.rules)
        case CycleGradingOpened():
            return replace(row, state="grading")
        case CycleClosing():
            return replace(row, state="closing")
        case CycleClosed():
            return replace(row, state="closed", positions=fact.positions)
        case CycleCancelled():
            return replace(row, state="cancelled")
        case _:
            assert_never(fact)


def _project_objective(rows: Rows, organization_id: UUID, fact: ObjectiveEvent) -> None:
    objective = rows.get(ObjectiveRow, organization_id, fact.objective_id)
    match fact:
        case ObjectiveDrafted():
            objective = replace(
                objective,
                cycle_id=fact.cycle_id,
                unit_id=fact.unit_id,
                owner_id=fact.owner_id,
                title=fact.title,
            )
        case ObjectiveActivated():
            objective = replace(objective, state="active")
        case LintOverridden():
            overridden = (*objective.overridden, OverriddenRow(fact.rule, fact.subject_id))
            objective = replace(objective, overridden=overridden)
        case ObjectiveClosed():
            objective = replace(objective, state="closed", outcome=fact.outcome)
        case ObjectiveCancelled():
            objective = replace(objective, state="cancelled")
        case KeyResultDefined():
            objective = replace(objective, key_results=objective.key_results + 1)
            rows.put(
                KeyResultRow(
                    organization_id=organization_id,
                    objective_id=fact.objective_id,
                    key_result_id=fact.key_result_id,
                    ordinal=objective.key_results,
                    title=fact.title,
                    type=fact.type,
                    start=fact.start,
                    commit=fact.commit,
                    target=fact.target,
                    unit=fact.unit,
                    starts_on=fact.starts_on,
                    due_on=fact.due_on,
                    measurement=fact.measurement,
                    continued_from=fact.continued_from,
                )
            )
        case (
            ChampionAssigned()
            | ChampionReleased()
            | TargetRevised()
            | KeyResultOpened()
            | KeyResultGraded()
            | KeyResultClosed()
        ):
            row = rows.get(KeyResultRow, organization_id, fact.objective_id, fact.key_result_id)
            rows.put(_changed(row, fact))
        case _:
            assert_never(fact)
    rows.put(objective)


def _changed(
    row: KeyResultRow,
    fact: ChampionAssigned | ChampionReleased | TargetRevised | KeyResultOpened | KeyResultGraded | KeyResultClosed,
) -> KeyResultRow:
    match fact:
        case ChampionAssigned():
            return replace(row, champions=(*row.champions, ChampionEntry(fact.person_id, fact.role)))
        case ChampionReleased():
            gone = ChampionEntry(fact.person_id, fact.role)
            return replace(row, champions=tuple(each for each in row.champions if each != gone))
        case TargetRevised():
            return replace(row, commit=fact.commit, target=fact.target)
        case KeyResultOpened():
            return replace(row, open=True)
        case KeyResultGraded():
            grade = GradeEntry(fact.computed, fact.final, fact.zone, fact.rule_version, fact.reason, fact.evidence)
            return replace(row, grade=grade)
        case KeyResultClosed():
            return replace(row, open=False)


def _project_import(rows: Rows, organization_id: UUID, fact: ImportEvent) -> None:
    row = rows.get(ImportRow, organization_id, fact.import_id)
    match fact:
        case ImportAccepted():
            row = replace(row, rows_total=fact.rows, positions=fact.positions)
        case ImportObjectivePlanned():
            planned = ImportObjectiveRow(
                organization_id=organization_id,
                import_id=fact.import_id,
                objective_id=fact.objective_id,
                rows=len(fact.key_results),
            )
            rows.put(planned)
            return
        case ImportRowRefused():
            row = replace(row, refused=(*row.refused, RefusedRow(fact.row, fact.reason, fact.message)))
        case ImportObjectiveApplied():
            planned = rows.get(ImportObjectiveRow, organization_id, fact.import_id, fact.objective_id)
            row = replace(
                row,
                rows_done=row.rows_done + planned.rows,
                positions=latest((*row.positions, *fact.positions)),
            )
        case ImportCompleted():
            row = replace(row, completed=True)
        case _:
            assert_never(fact)
    rows.put(row)


def latest(tokens: Sequence[str]) -> tuple[str, ...]:
    """Of each service's positions, all in one organisation's shard, the last. Sorted, so that order leaves no trace."""
    last: dict[tuple[str, int], Position] = {}
    for token in tokens:
        position = Position.parse(token)
        key = (position.service, position.shard)
        last[key] = max(position, last.get(key, position))
    return tuple(sorted(str(position) for position in last.values()))


plans = Projection(
    "goals.plans",
    source="goals",
    rows=(CycleRow, ObjectiveRow, KeyResultRow, ImportRow, ImportObjectiveRow, TemplateRow),
    project=project,
)


class Reads(Protocol):
    """What the queries need of the chassis' reader."""

    async def fetch(self, sql: str, *args: object) -> Sequence[asyncpg.Record]: ...

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None: ...


_CYCLE = """SELECT cycle_id, name, starts_on, ends_on, state, rules, positions, _stream_version
              FROM cycle WHERE organization_id = $1"""
_OBJECTIVE = """SELECT objective_id, cycle_id, unit_id, owner_id, title, state, outcome, overridden, _stream_version
                  FROM objective WHERE organization_id = $1"""
_KEY_RESULT = """SELECT k.key_result_id, k.objective_id, o.cycle_id, k.title, k.type, k.start, k."commit", k.target,
                        k.unit, k.starts_on, k.due_on, k.champions, k.open, k.measurement, k.continued_from, k.grade
                   FROM key_result k JOIN objective o USING (organization_id, objective_id)
                  WHERE k.organization_id = $1"""


_TEMPLATE = """SELECT template_id, industry, function, objective, serves, key_results
                 FROM template WHERE organization_id = $1"""


async def cycle(reads: Reads, organization_id: UUID, cycle_id: UUID) -> asyncpg.Record | None:
    return await reads.fetchrow(f"{_CYCLE} AND cycle_id = $2", organization_id, cycle_id)


async def cycles(reads: Reads, organization_id: UUID, page: Page) -> Sequence[asyncpg.Record]:
    """In the order of their ids, one more than the page holds."""
    return await reads.fetch(
        f"{_CYCLE} AND ($2::uuid IS NULL OR cycle_id > $2) ORDER BY cycle_id LIMIT $3",
        organization_id,
        page.after_id,
        page.limit,
    )


async def cycles_called(reads: Reads, organization_id: UUID, name: str) -> Sequence[asyncpg.Record]:
    """The cycles with a name, whatever its case, the latest first."""
    return await reads.fetch(
        f"{_CYCLE} AND lower(name) = lower($2) ORDER BY starts_on DESC, cycle_id", organization_id, name
    )


async def objective(reads: Reads, organization_id: UUID, objective_id: UUID) -> asyncpg.Record | None:
    return await reads.fetchrow(f"{_OBJECTIVE} AND objective_id = $2", organization_id, objective_id)


async def objectives(
    reads: Reads, organization_id: UUID, cycle_id: UUID | None, page: Page
) -> Sequence[asyncpg.Record]:
    """Of one cycle or of all, in the order of their ids, one more than the page holds."""
    return await reads.fetch(
        f"""{_OBJECTIVE} AND ($2::uuid IS NULL OR cycle_id = $2) AND ($3::uuid IS NULL OR objective_id > $3)
             ORDER BY objective_id LIMIT $4""",
        organization_id,
        cycle_id,
        page.after_id,
        page.limit,
    )


async def objectives_of_cycle(reads: Reads, organization_id: UUID, cycle_id: UUID) -> Sequence[asyncpg.Record]:
    """All of them: a plan is compared with the whole cycle."""
    return await reads.fetch(f"{_OBJECTIVE} AND cycle_id = $2", organization_id, cycle_id)


async def objectives_of_unit(reads: Reads, organization_id: UUID, cycle_id: UUID, unit_id: UUID) -> int:
    """How many objectives a unit has in a cycle, closed ones left out."""
    row = await reads.fetchrow(
        """SELECT count(*) AS found FROM objective
            WHERE organization_id = $1 AND cycle_id = $2 AND unit_id = $3
              AND state NOT IN ('closed', 'cancelled')""",
        organization_id,
        cycle_id,
        unit_id,
    )
    return 0 if row is None else int(row["found"])


async def has_cycle_before(reads: Reads, organization_id: UUID, cycle_id: UUID) -> bool:
    """Whether the organisation has had a cycle that began before this one."""
    row = await reads.fetchrow(
        """SELECT 1 FROM cycle earlier JOIN cycle this USING (organization_id)
            WHERE organization_id = $1 AND this.cycle_id = $2 AND earlier.starts_on < this.starts_on LIMIT 1""",
        organization_id,
        cycle_id,
    )
    return row is not None


async def key_results_of_cycle(reads: Reads, organization_id: UUID, cycle_id: UUID) -> Sequence[asyncpg.Record]:
    """Who champions the open objectives' key results of a cycle, and which metrics they claim."""
    return await reads.fetch(
        """SELECT k.objective_id, k.champions, k.measurement ->> 'metric' AS metric
             FROM key_result k JOIN objective o USING (organization_id, objective_id)
            WHERE k.organization_id = $1 AND o.cycle_id = $2
              AND o.state NOT IN ('closed', 'cancelled')""",
        organization_id,
        cycle_id,
    )


async def templates(reads: Reads, organization_id: UUID) -> Sequence[asyncpg.Record]:
    """The organisation's own, in the order of their titles."""
    return await reads.fetch(f"{_TEMPLATE} ORDER BY objective, template_id", organization_id)


async def template(reads: Reads, organization_id: UUID, template_id: UUID) -> asyncpg.Record | None:
    return await reads.fetchrow(f"{_TEMPLATE} AND template_id = $2", organization_id, template_id)


async def active_objectives(reads: Reads, organization_id: UUID, cycle_id: UUID) -> int:
    row = await reads.fetchrow(
        """SELECT count(*) AS active FROM objective
            WHERE organization_id = $1 AND cycle_id = $2 AND state = 'active'""",
        organization_id,
        cycle_id,
    )
    return 0 if row is None else int(row["active"])


async def ungraded(reads: Reads, organization_id: UUID, cycle_id: UUID) -> Sequence[asyncpg.Record]:
    """The key results of a cycle's active objectives that have no grade, by their objectives' and their own titles."""
    return await reads.fetch(
        """SELECT o.title AS objective_title, k.title, k.key_result_id
             FROM key_result k JOIN objective o USING (organization_id, objective_id)
            WHERE k.organization_id = $1 AND o.cycle_id = $2 AND o.state = 'active' AND k.grade IS NULL
            ORDER BY o.title, k.objective_id, k.ordinal""",
        organization_id,
        cycle_id,
    )


async def key_results_to_grade(
    reads: Reads, organization_id: UUID, cycle_id: UUID, page: Page
) -> Sequence[asyncpg.Record]:
    """The key results of a cycle that were tried, in the order of their ids, one more than the page holds."""
    return await reads.fetch(
        f"""{_KEY_RESULT} AND o.cycle_id = $2 AND o.state IN ('active', 'closed')
              AND ($3::uuid IS NULL OR k.key_result_id > $3)
            ORDER BY k.key_result_id LIMIT $4""",
        organization_id,
        cycle_id,
        page.after_id,
        page.limit,
    )


async def grades_of_cycle(reads: Reads, organization_id: UUID, cycle_id: UUID) -> Sequence[asyncpg.Record]:
    """What the summary of a cycle counts: every key result of it that was tried, and its grade if there is one."""
    return await reads.fetch(
        """SELECT o.objective_id, o.state, k.key_result_id, k.grade
             FROM objective o LEFT JOIN key_result k USING (organization_id, objective_id)
            WHERE o.organization_id = $1 AND o.cycle_id = $2""",
        organization_id,
        cycle_id,
    )


class Place(NamedTuple):
    """Where in the order of all cycles, over all organisations."""

    organization_id: UUID
    cycle_id: UUID


BEGINNING = Place(UUID(int=0), UUID(int=0))


async def cycles_in_time(reads: Reads, latest_day: date, after: Place, limit: int) -> Sequence[asyncpg.Record]:
    """The next cycles, over all organisations, that may have come to their first day or passed their last one
    wherever it is `latest_day` by now; with the time zone of each organisation."""
    return await reads.fetch(
        """SELECT c.organization_id, c.cycle_id, c.state, c.starts_on, c.ends_on, o.time_zone
             FROM cycle c LEFT JOIN known_organization o USING (organization_id)
            WHERE (c.state = 'published' AND c.starts_on <= $1 OR c.state = 'active' AND c.ends_on < $1)
              AND (c.organization_id, c.cycle_id) > ($2, $3)
            ORDER BY c.organization_id, c.cycle_id LIMIT $4""",
        latest_day,
        *after,
        limit,
    )


async def key_results_of(
    reads: Reads, organization_id: UUID, objective_ids: Sequence[UUID]
) -> Sequence[asyncpg.Record]:
    """The key results of many objectives in one question, in the order in which they were defined."""
    return await reads.fetch(
        f"{_KEY_RESULT} AND k.objective_id = ANY ($2::uuid[]) ORDER BY k.objective_id, k.ordinal",
        organization_id,
        list(objective_ids),
    )


async def key_result(reads: Reads, organization_id: UUID, key_result_id: UUID) -> asyncpg.Record | None:
    """The key result with this id; of two, which only a race could make, the one with the lower objective."""
    return await reads.fetchrow(
        f"{_KEY_RESULT} AND k.key_result_id = $2 ORDER BY k.objective_id LIMIT 1", organization_id, key_result_id
    )


async def import_progress(reads: Reads, organization_id: UUID, import_id: UUID) -> asyncpg.Record | None:
    return await reads.fetchrow(
        """SELECT rows_total, rows_done, completed, refused, positions FROM import
            WHERE organization_id = $1 AND import_id = $2""",
        organization_id,
        import_id,
    )
