"""What a watcher of one key result hears, and what it is expected to note and tell."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from okr_contracts.checkins import CheckInCorrected, CheckInRecorded
from okr_contracts.goals import (
    ChampionAssigned,
    ChampionReleased,
    ChampionRole,
    KeyResultClosed,
    KeyResultDefined,
    KeyResultOpened,
    TargetRevised,
)
from okr_contracts.notifications import NotificationRaised, WatchEvent
from okr_notifications.commands import Fact, Hear, LookAtPace
from okr_notifications.decider import Watch, watch
from tests.support.sealed import sealed

KEY_RESULT = UUID(int=1)
OBJECTIVE = UUID(int=2)
ANA = UUID(int=21)
BEN = UUID(int=22)
STARTS_ON = date(2026, 1, 1)
DUE_ON = date(2026, 4, 11)  # 100 days later: a day is one percent of the way


def day(number: int) -> datetime:
    """The beginning of the day when `number` percent of the time have passed."""
    return datetime.fromordinal(STARTS_ON.toordinal() + number).replace(tzinfo=UTC)


def defined(start: str = "0", commit: str = "50", target: str = "100") -> KeyResultDefined:
    return KeyResultDefined(
        key_result_id=KEY_RESULT,
        objective_id=OBJECTIVE,
        title="Regulars who come back",
        type="increase",
        start=Decimal(start),
        commit=Decimal(commit),
        target=Decimal(target),
        unit="%",
        starts_on=STARTS_ON,
        due_on=DUE_ON,
    )


def assigned(person_id: UUID = ANA, role: ChampionRole = "accountable") -> ChampionAssigned:
    return ChampionAssigned(
        key_result_id=KEY_RESULT,
        objective_id=OBJECTIVE,
        person_id=person_id,
        role=role,
        key_result_title="Regulars who come back",
    )


def released(person_id: UUID = ANA, role: ChampionRole = "accountable") -> ChampionReleased:
    return ChampionReleased(key_result_id=KEY_RESULT, objective_id=OBJECTIVE, person_id=person_id, role=role)


def opened() -> KeyResultOpened:
    return KeyResultOpened(key_result_id=KEY_RESULT, objective_id=OBJECTIVE, starts_on=STARTS_ON)


def closed() -> KeyResultClosed:
    return KeyResultClosed(key_result_id=KEY_RESULT, objective_id=OBJECTIVE)


def revised(commit: str, target: str = "100") -> TargetRevised:
    return TargetRevised(
        key_result_id=KEY_RESULT,
        objective_id=OBJECTIVE,
        commit=Decimal(commit),
        target=Decimal(target),
        previous_commit=Decimal(50),
        previous_target=Decimal(100),
        reason=sealed("the market moved"),
    )


def recorded(value: str, on: int, check_in: int = 0) -> CheckInRecorded:
    """A check-in dated `on` that day; its id follows from the day unless it is named."""
    return CheckInRecorded(
        check_in_id=UUID(int=100 + (check_in or on)),
        key_result_id=KEY_RESULT,
        value=Decimal(value),
        confidence=Decimal("0.5"),
        note=None,
        occurred_at=day(on),
    )


def corrected(value: str, on: int, check_in: int = 0) -> CheckInCorrected:
    return CheckInCorrected(
        check_in_id=UUID(int=100 + (check_in or on)),
        key_result_id=KEY_RESULT,
        value=Decimal(value),
        confidence=Decimal("0.5"),
        note=None,
        occurred_at=day(on),
        reason=sealed("typed wrongly"),
    )


class Ears:
    """A watcher that hears facts one after the other, and what it told on hearing the last.

    Positions count up by themselves, as they do in the logs of goals and checkins.
    """

    def __init__(self) -> None:
        self.events: list[WatchEvent] = []
        self.heard: list[Hear] = []

    @property
    def state(self) -> Watch:
        return watch.fold(self.events)

    def hear(self, fact: Fact, on: int) -> list[NotificationRaised]:
        """`fact` is recorded on that day; returns what was told."""
        service = "checkins" if isinstance(fact, CheckInRecorded | CheckInCorrected) else "goals"
        position = len(self.heard) + 1
        return self.again(Hear(fact, service, position, UUID(int=5000 + position), day(on)))

    def again(self, command: Hear) -> list[NotificationRaised]:
        self.heard.append(command)
        return self._told(watch.decide(self.state, command))

    def look(self, on: int) -> list[NotificationRaised]:
        """The sweep comes by on that day."""
        at = day(on)
        return self._told(watch.decide(self.state, LookAtPace(KEY_RESULT, at.date(), at)))

    def _told(self, events: Sequence[WatchEvent]) -> list[NotificationRaised]:
        self.events += events
        return [event for event in events if isinstance(event, NotificationRaised)]


def watching(*facts: Fact) -> Ears:
    """A watcher of an open key result for which Ana is accountable; then `facts`, on day 0."""
    ears = Ears()
    for fact in (defined(), assigned(), opened(), *facts):
        ears.hear(fact, on=0)
    return ears


def kinds(told: list[NotificationRaised]) -> list[tuple[str, UUID]]:
    """What was told to whom."""
    return [(each.kind, each.person_id) for each in told]
