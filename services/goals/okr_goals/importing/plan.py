"""A sheet against the world: everything that is wrong with it, or everything it would do. No I/O."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from uuid import UUID

from okr_contracts.errors import OkrError
from okr_contracts.goals import (
    ChampionAssigned,
    ImportObjectivePlanned,
    KeyResultDefined,
    ObjectiveDrafted,
    ObjectiveEvent,
    PlannedKeyResult,
    TargetRevised,
)
from okr_goals.decider import cycle as cycle_rules
from okr_goals.decider.commands import ApplyPlan
from okr_goals.decider.cycle import ENDED, Cycle, DraftCycle
from okr_goals.decider.objective import KeyResult, Objective, carry_out
from okr_goals.importing import names
from okr_goals.importing.sheet import WHOLE_FILE, Fault, SheetRow
from okr_goals.importing.world import KnownPerson, World
from okr_rules.alignment import closes_loop, depth, depths_below
from okr_rules.commitment import default_commit
from okr_rules.parameters import DEFAULTS

DEFAULT_CONFIDENCE = Decimal("0.5")

COLUMNS = {
    "START_EQUALS_TARGET": "target",
    "DIRECTION_DIFFERS": "target",
    "COMMIT_BEFORE_START": "commit",
    "COMMIT_BEYOND_TARGET": "commit",
    "DUE_OUTSIDE_CYCLE": "due_on",
    "TWO_ACCOUNTABLE": "champions",
    "NO_ACCOUNTABLE": "champions",
    "CHAMPION_REPEATED": "champions",
    "TOO_MANY_CHAMPIONS": "champions",
    "REVIEWER_IS_ACCOUNTABLE": "champions",
    "OBJECTIVE_ALREADY_EXISTS": "owner",
    "OBJECTIVE_CLOSED": "objective",
    "CYCLE_CLOSED": "objective",
    "CYCLE_NOT_ACTIVE": "objective",
    "TOO_MANY_KEY_RESULTS": "key_result",
}
"""Which cell a rule's refusal is about."""

CYCLE_COLUMNS = {"CYCLE_ENDS_BEFORE_START": "cycle_ends_on", "CYCLE_TOO_LONG": "cycle_ends_on"}

_NAMED_EMAIL = re.compile(r"(?P<name>[^<>]*)<(?P<email>[^<>\s@]+@[^<>\s@]+)>")
_EMAIL = re.compile(r"(?P<local>[^<>\s@]+)@[^<>\s@]+")


@dataclass(frozen=True)
class NewPerson:
    """Somebody the sheet names and nobody knows. These facts stay out of the log."""

    person_id: UUID
    handle: str
    name: str
    email: str
    unit_id: UUID | None


@dataclass
class Effects:
    """What a plan does, in numbers."""

    departments_added: int = 0
    people_registered: int = 0
    objectives_drafted: int = 0
    key_results_defined: int = 0
    targets_revised: int = 0
    champions_assigned: int = 0
    alignments: int = 0
    check_ins: int = 0
    unchanged_rows: int = 0


@dataclass(frozen=True)
class Plan:
    """With any fault, nothing of the rest is to be used. `objectives` come parents first."""

    faults: list[Fault]
    cycle_id: UUID
    units: dict[UUID, str]
    people: list[NewPerson]
    objectives: list[ImportObjectivePlanned]
    effects: Effects


@dataclass
class _Draft:
    """An objective of the sheet while its rows are gathered."""

    objective_id: UUID
    unit_id: UUID
    owner_id: UUID
    rows: list[SheetRow]
    champions: list[tuple[UUID, ...]]
    parent: str | None = None
    parent_id: UUID | None = None
    planned: list[PlannedKeyResult] = field(default_factory=list)

    @property
    def first(self) -> SheetRow:
        return self.rows[0]


def make_plan(
    import_id: UUID,
    source: str,
    cycle: tuple[str, date, date],
    rows: Sequence[SheetRow],
    world: World,
    faults: Iterable[Fault] = (),
    mentioned: Iterable[str] = (),
) -> Plan:
    """Compare a sheet with the world. `cycle` is its name and its days.

    `faults` are those known already, of rows that could not be read and are not among `rows`;
    `mentioned` are the objectives of these too, so that nobody's parent is missed for another's fault.
    """
    planner = _Planner(import_id, source, cycle, world, list(faults))
    return planner.plan(rows, {names.same(title) for title in mentioned})


class _Planner:
    """Gathers faults while it goes; one is made for each plan."""

    def __init__(
        self, import_id: UUID, source: str, cycle: tuple[str, date, date], world: World, faults: list[Fault]
    ) -> None:
        self._import_id = import_id
        self._source = source
        self._world = world
        self._faults = faults
        self._effects = Effects()
        self._new_units: dict[UUID, str] = {}
        self._units: dict[str, list[UUID]] = {}
        for unit_id, name in world.units.items():
            self._units.setdefault(names.same(name), []).append(unit_id)
        self._new_people: dict[UUID, NewPerson] = {}
        self._by_handle = {person.handle: person.person_id for person in world.people.values() if person.handle}
        self._by_email = {person.email.casefold(): person.person_id for person in world.people.values() if person.email}
        self._by_name: dict[str, list[KnownPerson]] = {}
        for person in world.people.values():
            self._by_name.setdefault(names.same(person.name), []).append(person)
        name, starts_on, ends_on = cycle
        self._cycle_id = world.cycle_id or names.cycle_id(world.organization_id, name)
        self._cycle = self._cycle_of(name, starts_on, ends_on)

    def plan(self, rows: Sequence[SheetRow], mentioned: Collection[str]) -> Plan:
        drafts = self._gather(rows)
        self._find_parents(drafts, mentioned)
        self._refuse_loops(drafts)
        for draft in drafts.values():
            self._compare(draft)
        self._effects.departments_added = len(self._new_units)
        self._effects.people_registered = len(self._new_people)
        return Plan(
            faults=sorted(self._faults, key=lambda fault: fault.row),
            cycle_id=self._cycle_id,
            units=self._new_units,
            people=list(self._new_people.values()),
            objectives=[self._planned(draft) for draft in _parents_first(drafts)],
            effects=self._effects,
        )

    def _fault(self, row: int, column: str, reason: str, message: str) -> None:
        self._faults.append(Fault(row, column, reason, message))

    # --- the cycle -------------------------------------------------------------------------------

    def _cycle_of(self, name: str, starts_on: date, ends_on: date) -> Cycle:
        """The cycle as it will be when the plan is carried out."""
        known = self._world.cycle
        title = known.name if known.state != "none" else name
        command = DraftCycle(cycle_id=self._cycle_id, name=title, starts_on=starts_on, ends_on=ends_on)
        try:
            cycle_rules.decide(known, command)
        except OkrError as error:
            if known.state == "none":
                self._fault(WHOLE_FILE, CYCLE_COLUMNS.get(error.reason, "cycle_name"), error.reason, error.message)
            else:
                message = f"{known.name} runs from {known.starts_on} to {known.ends_on} already; name another cycle"
                self._fault(WHOLE_FILE, "cycle_starts_on", error.reason, message)
        return Cycle(
            state=known.state if known.state in ENDED else "active", name=title, starts_on=starts_on, ends_on=ends_on
        )

    # --- who and where ---------------------------------------------------------------------------

    def _unit(self, row: SheetRow) -> UUID:
        found = self._units.get(names.same(row.department), [])
        if len(found) > 1:
            self._fault(
                row.row, "department", "UNIT_AMBIGUOUS", f"{len(found)} units are called {row.department!r}; rename one"
            )
        if found:
            return found[0]
        unit_id = names.unit_id(self._world.organization_id, row.department)
        if unit_id not in self._world.units:  # else it was renamed since an import brought it in
            self._new_units[unit_id] = row.department
            self._units[names.same(row.department)] = [unit_id]
        return unit_id

    def _person(self, text: str, row: int, column: str, unit_id: UUID | None) -> UUID:
        """Whom a cell means: somebody known by handle, e-mail or name, else somebody new."""
        name, email, handle = _who(text)
        known = self._by_email.get(email.casefold()) if email else None
        known = known or self._by_handle.get(text.casefold()) or self._by_handle.get(handle)
        if known is not None:
            return known
        namesakes = self._by_name.get(names.same(name), [])
        if len(namesakes) > 1:
            handles = ", ".join(sorted(person.handle for person in namesakes))
            self._fault(
                row, column, "PERSON_AMBIGUOUS", f"{len(namesakes)} people are called {name!r}; write one of {handles}"
            )
        if namesakes:
            return namesakes[0].person_id
        if not handle:
            self._fault(row, column, "NO_NAME", f"{text!r} has no letter in it; write a name, a handle or an e-mail")
        person_id = names.person_id(self._world.organization_id, handle)
        while person_id in self._world.erased:
            person_id = names.successor_id(person_id)
        if person_id not in self._world.people:  # else it got another handle since an import brought it in
            met = self._new_people.setdefault(person_id, NewPerson(person_id, handle, name, email, unit_id))
            if met.name.islower() and not name.islower():  # of two spellings the one with capitals is the name
                self._new_people[person_id] = replace(met, name=name)
        return person_id

    # --- objectives ------------------------------------------------------------------------------

    def _gather(self, rows: Sequence[SheetRow]) -> dict[UUID, _Draft]:
        """The rows by objective, in the order of the sheet."""
        drafts: dict[UUID, _Draft] = {}
        for row in rows:
            unit_id = self._unit(row)
            owner_id = self._person(row.owner, row.row, "owner", unit_id)
            champions = tuple(self._person(each, row.row, "champions", unit_id) for each in row.champions)
            objective_id = self._world.objective_ids.get((unit_id, names.same(row.objective)))
            if objective_id is None:
                objective_id = names.objective_id(self._world.organization_id, self._cycle_id, unit_id, row.objective)
            draft = drafts.setdefault(objective_id, _Draft(objective_id, unit_id, owner_id, [], []))
            if draft.owner_id != owner_id:
                message = (
                    f"{row.objective!r} is owned by {draft.first.owner!r} in row {draft.first.row}; one may own it"
                )
                self._fault(row.row, "owner", "OWNER_DIFFERS", message)
            if draft.parent and row.parent_objective and names.same(draft.parent) != names.same(row.parent_objective):
                message = f"{row.objective!r} has the parent {draft.parent!r} in another row; it may have one"
                self._fault(row.row, "parent_objective", "PARENT_DIFFERS", message)
            draft.parent = draft.parent or row.parent_objective
            draft.rows.append(row)
            draft.champions.append(champions)
        return drafts

    def _find_parents(self, drafts: dict[UUID, _Draft], mentioned: Collection[str]) -> None:
        by_title: dict[str, set[UUID]] = {}
        for (_, title), objective_id in self._world.objective_ids.items():
            by_title.setdefault(title, set()).add(objective_id)
        for draft in drafts.values():
            by_title.setdefault(names.same(draft.first.objective), set()).add(draft.objective_id)
        for draft in drafts.values():
            if draft.parent is None:
                continue
            row = _row_with_parent(draft)
            found = by_title.get(names.same(draft.parent), set())
            if len(found) > 1:  # a namesake of another department is meant rather than the objective itself
                found = found - {draft.objective_id}
            if len(found) > 1:
                message = f"{len(found)} objectives of the cycle are called {draft.parent!r}; give each its own title"
                self._fault(row, "parent_objective", "PARENT_AMBIGUOUS", message)
            elif not found and names.same(draft.parent) not in mentioned:
                message = f"neither the file nor the cycle has an objective {draft.parent!r}"
                self._fault(row, "parent_objective", "PARENT_NOT_FOUND", message)
            else:
                draft.parent_id = next(iter(found), None)

    def _refuse_loops(self, drafts: dict[UUID, _Draft]) -> None:
        """Checked on the tree as it will be: what the file says replaces what is there."""
        planned = {draft.objective_id: draft.parent_id for draft in drafts.values() if draft.parent_id is not None}
        parents = dict(self._world.parents) | planned
        below = depths_below(parents)
        for child, parent in planned.items():
            draft = drafts[child]
            row = _row_with_parent(draft)
            if closes_loop(parents, child, parent):
                message = f"{draft.first.objective!r} and {draft.parent!r} would contribute to each other in a loop"
                self._fault(row, "parent_objective", "ALIGNMENT_CLOSES_LOOP", message)
            elif depth(parents, parent) + below[child] > DEFAULTS.max_alignment_depth:
                message = f"more than {DEFAULTS.max_alignment_depth} objectives would stand above one another"
                self._fault(row, "parent_objective", "ALIGNMENT_TOO_DEEP", message)
            if self._world.parents.get(child) != parent:
                self._effects.alignments += 1

    # --- key results -----------------------------------------------------------------------------

    def _compare(self, draft: _Draft) -> None:
        """Lay the rows of an objective beside what it is now, by the very rules that will decide about it."""
        known = self._world.objectives.get(draft.objective_id, Objective())
        self._place(draft, known)
        planned = self._planned(draft)
        events, refusals = carry_out(known, apply_command(planned, self._cycle_id, self._cycle, self._source))
        seen: set[tuple[str, str]] = set()
        rows = {row.row: row for row in draft.rows}
        for refusal in refusals:
            reason, message = refusal.error.reason, refusal.error.message
            if reason == "KEY_RESULT_ALREADY_EXISTS":
                continue  # told cell by cell when it was placed
            column = COLUMNS.get(reason, "key_result")
            if reason == "OBJECTIVE_ALREADY_EXISTS":
                message = f"{rows[refusal.row].objective!r} has another owner already; an import does not change owners"
            if column in ("owner", "objective"):  # said of the objective, so once
                if (column, reason) in seen:
                    continue
                seen.add((column, reason))
            self._fault(refusal.row, column, reason, message)
        self._count(draft, known, events)

    def _place(self, draft: _Draft, known: Objective) -> None:
        """Give every row its id, its defaults, and the faults that lie between rows or in what cannot change."""
        by_title = {names.same(each.defined.title): key_id for key_id, each in known.key_results.items()}
        first_row: dict[str, int] = {}
        for row, champions in zip(draft.rows, draft.champions, strict=True):
            title = names.same(row.key_result)
            if title in first_row:
                message = f"{row.key_result!r} stands in row {first_row[title]} already"
                self._fault(row.row, "key_result", "KEY_RESULT_REPEATED", message)
                continue
            first_row[title] = row.row
            if len(set(champions)) < len(champions):
                self._fault(row.row, "champions", "CHAMPION_REPEATED", "names a person twice; once is enough")
                continue
            key_result_id = by_title.get(title) or names.key_result_id(
                self._world.organization_id, draft.objective_id, row.key_result
            )
            before = known.key_results.get(key_result_id)
            planned = PlannedKeyResult(
                row=row.row,
                key_result_id=key_result_id,
                title=row.key_result if before is None else before.defined.title,
                start=row.start,
                commit=_commit(row, before),
                target=row.target,
                unit=row.unit,
                due_on=row.due_on or (self._cycle.ends_on if before is None else before.defined.due_on),
                champions=champions,
                current=self._current(row),
                confidence=DEFAULT_CONFIDENCE if row.confidence is None else row.confidence,
            )
            if before is not None:
                self._refuse_changes(before.defined, planned)
            if known.state == "closed" and self._checks_in(planned):
                self._fault(row.row, "current", "OBJECTIVE_CLOSED", f"{row.objective!r} is closed and takes no values")
            draft.planned.append(planned)

    def _current(self, row: SheetRow) -> Decimal | None:
        """The value to check in. Before the cycle begins there is nothing to say but where things start."""
        if row.current is not None and self._world.today < self._cycle.starts_on:
            if row.current != row.start:
                message = f"{row.current:f} cannot be checked in before the cycle begins on {self._cycle.starts_on}"
                self._fault(row.row, "current", "CHECK_IN_BEFORE_CYCLE", f"{message}; leave it empty until then")
            return None
        return row.current

    def _refuse_changes(self, defined: KeyResultDefined, planned: PlannedKeyResult) -> None:
        for column, before, after in (
            ("start", f"{defined.start:f}", f"{planned.start:f}"),
            ("unit", defined.unit, planned.unit),
            ("due_on", str(defined.due_on), str(planned.due_on)),
        ):
            same = defined.start == planned.start if column == "start" else before == after
            if not same:
                stays = f"{defined.title!r} has {before or 'nothing'} and not {after}"
                message = f"{stays}; that stays, or give the key result a new name"
                self._fault(planned.row, column, "KEY_RESULT_ALREADY_EXISTS", message)

    def _checks_in(self, planned: PlannedKeyResult) -> bool:
        """Whether the current value says something new."""
        return planned.current is not None and planned.current != self._world.last_values.get(planned.key_result_id)

    def _count(self, draft: _Draft, known: Objective, events: Sequence[ObjectiveEvent]) -> None:
        effects = self._effects
        touched: set[UUID] = set()
        drafted = False
        for event in events:
            match event:
                case ObjectiveDrafted():
                    effects.objectives_drafted += 1
                    drafted = True
                case KeyResultDefined():
                    effects.key_results_defined += 1
                    touched.add(event.key_result_id)
                case TargetRevised():
                    effects.targets_revised += 1
                    touched.add(event.key_result_id)
                case ChampionAssigned():
                    effects.champions_assigned += 1
                    touched.add(event.key_result_id)
                case _:
                    pass
        realigned = draft.parent_id is not None and self._world.parents.get(draft.objective_id) != draft.parent_id
        for planned in draft.planned:
            if self._checks_in(planned):
                effects.check_ins += 1
            elif planned.key_result_id not in touched and not drafted and not realigned:
                effects.unchanged_rows += 1

    # --- what goes into the log ------------------------------------------------------------------

    def _planned(self, draft: _Draft) -> ImportObjectivePlanned:
        known = self._world.objectives.get(draft.objective_id, Objective()).drafted
        return ImportObjectivePlanned(
            import_id=self._import_id,
            objective_id=draft.objective_id,
            title=draft.first.objective if known is None else known.title,
            unit_id=draft.unit_id,
            owner_id=draft.owner_id,
            parent_objective_id=draft.parent_id,
            key_results=tuple(draft.planned),
        )


def apply_command(planned: ImportObjectivePlanned, cycle_id: UUID, cycle: Cycle, source: str) -> ApplyPlan:
    """What a planned objective asks of its stream; the same when the plan is checked and when it is carried out."""
    return ApplyPlan(
        objective_id=planned.objective_id,
        cycle_id=cycle_id,
        unit_id=planned.unit_id,
        owner_id=planned.owner_id,
        title=planned.title,
        cycle=cycle,
        key_results=planned.key_results,
        source=source,
    )


def _commit(row: SheetRow, before: KeyResult | None) -> Decimal:
    """The promise of a row; one left empty stays as it is as long as the target does."""
    if row.commit is not None:
        return row.commit
    return (
        before.commit if before is not None and before.target == row.target else default_commit(row.start, row.target)
    )


def _who(text: str) -> tuple[str, str, str]:
    """The name, the e-mail and the handle that a cell such as "Ana Souza", "ana@x.org" or both together gives."""
    if named := _NAMED_EMAIL.fullmatch(text):
        name = " ".join(named["name"].split())
        if name:
            return name, named["email"], names.handle_of(name)
        text = named["email"]
    if email := _EMAIL.fullmatch(text):
        handle = names.handle_of(email["local"])
        return " ".join(handle.replace(".", " ").title().split()) or text, text, handle
    name = " ".join(text.split())
    return name, "", names.handle_of(name)


def _row_with_parent(draft: _Draft) -> int:
    """The row that states the objective's parent, where its faults are reported."""
    return next((row.row for row in draft.rows if row.parent_objective), draft.first.row)


def _parents_first(drafts: dict[UUID, _Draft]) -> list[_Draft]:
    """In the order of the sheet, except that an objective comes after the one it contributes to."""
    ordered: dict[UUID, _Draft] = {}
    for draft in drafts.values():
        line: list[_Draft] = []
        above: _Draft | None = draft
        while above is not None and above.objective_id not in ordered and above not in line:
            line.append(above)
            above = None if above.parent_id is None else drafts.get(above.parent_id)
        ordered.update({each.objective_id: each for each in reversed(line)})
    return list(ordered.values())
