"""The rules of the inbox: one watcher per key result, who remembers what was told and tells nothing twice.

Two services speak to a watcher, goals and checkins, and either may be ahead of the other: a value may
come before the promise it is measured by. So the watcher remembers whatever it hears and judges once
it knows enough, rather than asking around.
"""

from datetime import datetime
from decimal import Decimal
from typing import assert_never
from uuid import UUID, uuid5

from msgspec import Struct
from msgspec.structs import replace

from okr_contracts.checkins import CheckInCorrected, CheckInRecorded
from okr_contracts.goals import (
    ChampionAssigned,
    ChampionReleased,
    KeyResultClosed,
    KeyResultDefined,
    KeyResultOpened,
    TargetRevised,
)
from okr_contracts.notifications import (
    KeyResultJudged,
    NotificationKind,
    NotificationRaised,
    WatchedPromise,
    WatchedValue,
    WatchEvent,
)
from okr_eventstore.decider import Decider
from okr_notifications.commands import Command, Fact, Hear, LookAtPace
from okr_rules.commitment import plain
from okr_rules.measure import measure_of
from okr_rules.pace import Verdict, judge
from okr_rules.progress import percent

Memory = KeyResultJudged
"""What the watcher knows is what it noted last."""


class Watch(Struct, frozen=True):
    memory: Memory | None = None


def decide(state: Watch, command: Command) -> list[WatchEvent]:
    match command:
        case Hear():
            return _hear(state, command)
        case LookAtPace():
            return _look(state, command)
        case _:
            assert_never(command)


def _hear(state: Watch, command: Hear) -> list[WatchEvent]:
    """Remember, then judge. What was heard before stays unheard for ever, whatever the bus repeats."""
    before = state.memory or _stranger(command.fact.key_result_id)
    if before.closed or command.position <= before.heard.get(command.service, 0):
        return []
    after = _remember(before, command.fact)
    if after == before:
        return []
    at = _not_before(before, command.at)
    after = replace(after, heard={**before.heard, command.service: command.position}, known_at=at)
    told: list[WatchEvent] = []
    if isinstance(command.fact, ChampionAssigned) and after.accountable_id is not None:
        told.append(_accountable(command.fact, command.event_id))
    if after.latest is not None:
        after, more = _judge(after, at, command.event_id)
        told += more
    return [after, *told]


def _look(state: Watch, command: LookAtPace) -> list[WatchEvent]:
    """A key result that nobody checks in falls behind too: without a value it stands where it started."""
    before = state.memory
    if before is None:
        return []
    at = _not_before(before, command.at)
    after, told = _judge(before, at, uuid5(command.key_result_id, f"{command.day}"))
    return [] if after == before else [replace(after, known_at=at), *told]


def _not_before(memory: Memory, at: datetime) -> datetime:
    """Time does not run back for a watcher, though the services it hears may lag behind each other."""
    return at if memory.known_at is None else max(at, memory.known_at)


def _stranger(key_result_id: UUID) -> Memory:
    return Memory(key_result_id=key_result_id, accountable_id=None, behind=False, commit_reached=False, heard={})


def _remember(memory: Memory, fact: Fact) -> Memory:
    match fact:
        case KeyResultDefined():
            return replace(
                memory,
                promise=WatchedPromise(
                    objective_id=fact.objective_id,
                    title=fact.title,
                    start=fact.start,
                    commit=fact.commit,
                    target=fact.target,
                    unit=fact.unit,
                    starts_on=fact.starts_on,
                    due_on=fact.due_on,
                    type=fact.type,
                    measurement=fact.measurement,
                ),
            )
        case TargetRevised():
            if memory.promise is None:
                return memory
            return replace(memory, promise=replace(memory.promise, commit=fact.commit, target=fact.target))
        case ChampionAssigned():
            return replace(memory, accountable_id=fact.person_id) if fact.role == "accountable" else memory
        case ChampionReleased():
            stands = fact.role != "accountable" or fact.person_id != memory.accountable_id
            return memory if stands else replace(memory, accountable_id=None)
        case KeyResultOpened():
            return replace(memory, open=True)
        case KeyResultClosed():
            return replace(memory, open=False, closed=True)
        case CheckInRecorded():
            if memory.latest is not None and fact.occurred_at < memory.latest.occurred_at:
                return memory  # back-dated: it says nothing of how the key result stands now
            return replace(memory, latest=WatchedValue(fact.check_in_id, fact.value, fact.occurred_at))
        case CheckInCorrected():
            if memory.latest is None or fact.check_in_id != memory.latest.check_in_id:
                return memory
            return replace(memory, latest=replace(memory.latest, value=fact.value))
        case _:
            assert_never(fact)


def _judge(memory: Memory, at: datetime, cause: UUID) -> tuple[Memory, list[WatchEvent]]:
    """How the key result stands at `at`, and what its accountable champion has to hear of that.

    Nothing is judged before all of it is known: what was promised, that it is open, and who is
    accountable. Otherwise what is told would be lost, since it is told only once.
    """
    promise, person_id = memory.promise, memory.accountable_id
    if promise is None or person_id is None or not memory.open:
        return memory, []
    told: list[WatchEvent] = []

    verdict = pace_of(promise, memory.latest, at)
    if verdict.behind and not memory.behind:
        nobody = "" if memory.latest else "Nobody has checked in yet, so it stands where it started. "
        told.append(_notification(memory, promise, person_id, "fell_behind", f"{nobody}{verdict.explain()}", cause))

    kept = memory.latest is not None and verdict.measure.keeps_commit(memory.latest.value)
    commits_told = memory.commits_told
    if kept and memory.latest is not None and promise.commit not in commits_told:
        commits_told = (*commits_told, promise.commit)
        why = _kept(promise, memory.latest.value)
        told.append(_notification(memory, promise, person_id, "commit_reached", why, cause))
    return replace(memory, behind=verdict.behind, commit_reached=kept, commits_told=commits_told), told


def _kept(promise: WatchedPromise, value: Decimal) -> str:
    """Which promise was kept, as its type has it."""
    match promise.type:
        case "binary":
            return "It is done, as was promised (rule commit)."
        case "ordinal":
            return "It has come to what its commit says (rule commit)."
        case "milestone":
            return (
                f"{percent(value)} of its milestones are done, {percent(promise.commit)} were promised (rule commit)."
            )
        case _:
            return (
                f"{_number(value)} {promise.unit} has come to the commit of {_number(promise.commit)}, "
                f"on the way from {_number(promise.start)} to {_number(promise.target)} (rule commit)."
            )


def pace_of(promise: WatchedPromise, latest: WatchedValue | None, at: datetime) -> Verdict:
    """How a key result stands at a moment."""
    measure = measure_of(promise, promise.starts_on)
    start = promise.start if measure.moves else None  # what covers no way stands nowhere until somebody says so
    return judge(measure, start if latest is None else latest.value, at)


def _accountable(fact: ChampionAssigned, cause: UUID) -> NotificationRaised:
    return NotificationRaised(
        notification_id=uuid5(cause, "became_accountable"),
        person_id=fact.person_id,
        kind="became_accountable",
        key_result_id=fact.key_result_id,
        objective_id=fact.objective_id,
        key_result_title=fact.key_result_title,
        explanation=(
            f"You are the accountable champion of “{fact.key_result_title}”: "
            "you promise its commit and answer for its grade (rule champions: exactly one is accountable)."
        ),
    )


def _notification(
    memory: Memory, promise: WatchedPromise, person_id: UUID, kind: NotificationKind, explanation: str, cause: UUID
) -> NotificationRaised:
    """Its id follows from its cause, so that the same cause never makes two."""
    return NotificationRaised(
        notification_id=uuid5(cause, kind),
        person_id=person_id,
        kind=kind,
        key_result_id=memory.key_result_id,
        objective_id=promise.objective_id,
        key_result_title=promise.title,
        explanation=explanation,
    )


def _number(value: Decimal) -> str:
    return f"{plain(value):f}"


def evolve(state: Watch, event: WatchEvent) -> Watch:
    match event:
        case KeyResultJudged():
            return Watch(event)
        case NotificationRaised():
            return state  # what was told is in the memory noted with it
        case _:
            assert_never(event)


watch = Decider(category="watch", initial=Watch(), decide=decide, evolve=evolve, snapshot_every=50)
"""Snapshots, because each check-in is heard and most are noted."""
