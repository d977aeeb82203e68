"""What a key result promises, of whatever kind, and how far a value takes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, Protocol

from okr_rules.commitment import reached
from okr_rules.exact import ONE, ZERO, clamp, four_places
from okr_rules.expectation import Always, AtTheEnd, ByMilestones, Expectation, Linear, Scheduled
from okr_rules.maintain import Range, progress_now
from okr_rules.milestones import Milestone
from okr_rules.progress import raw_progress

Kind = Literal["increase", "decrease", "maintain", "milestone", "binary", "baseline", "ordinal"]
"""How a key result is measured. Only the first two cover a way from start to target in a unit of their own."""

ORDINAL_ZONES = ("below_commit", "commit", "target", "stretch")
"""What the values 0, 1, 2 and 3 of an ordinal key result stand for."""
ORDINAL_PROGRESS = (ZERO, Decimal("0.3"), Decimal("0.7"), ONE)


@dataclass(frozen=True)
class Measure:
    """Marks, days and, by kind, what else there is to it.

    `start`, `commit` and `target` are in the key result's own unit; of a maintain one they are shares of
    the time inside its `range`, of a milestone one shares of its weights. A check-in's value is in the own
    unit too: of a milestone key result the share done, of a binary one 0 or 1, of an ordinal one the number
    of its zone. `schedule` holds planned points (day, share) where the way is not covered evenly.
    """

    start: Decimal
    commit: Decimal
    target: Decimal
    starts_on: date
    due_on: date
    kind: Kind | None = None
    """None tells it from start and target."""
    stretch: Decimal | None = None
    range: Range | None = None
    milestones: tuple[Milestone, ...] = ()
    schedule: tuple[tuple[date, Decimal], ...] = ()

    @property
    def moves(self) -> bool:
        """Whether it covers a way from start to target."""
        return self.kind in (None, "increase", "decrease")

    @property
    def expectation(self) -> Expectation:
        """How much of it should be done by when."""
        match self.kind:
            case "maintain":
                return Always()
            case "binary" | "baseline":
                return AtTheEnd(self.due_on)
            case "milestone" if self.milestones:
                return ByMilestones(self.milestones)
            case _ if self.schedule:
                return Scheduled(self.schedule)
            case _:
                return Linear(self.starts_on, self.due_on)

    @property
    def way(self) -> str:
        """What its progress is a share of, in words."""
        match self.kind:
            case "milestone":
                return "of its milestones"
            case "maintain" | "binary" | "baseline" | "ordinal":
                return "of the way"
            case _:
                return f"of the way from {self.start:f} to {self.target:f}"

    def raw(self, value: Decimal) -> Decimal:
        """How far `value` takes it, unclamped where it may pass its target or fall behind its start; four places."""
        match self.kind:
            case "maintain":
                if self.range is None:
                    raise ValueError("a maintain key result has a range")
                return progress_now(self.range, value)
            case "binary":
                return ONE if value >= ONE else ZERO
            case "baseline":
                return ONE  # it asks for a value, not for a certain one
            case "milestone":
                return four_places(value)  # of all its milestones, whatever part of them is the target
            case "ordinal":
                return ORDINAL_PROGRESS[min(max(int(value), 0), len(ORDINAL_PROGRESS) - 1)]
            case _:
                return raw_progress(self.start, self.target, value)

    def progress(self, value: Decimal) -> Decimal:
        """0 to 1, four places."""
        return clamp(self.raw(value))

    def keeps_commit(self, value: Decimal) -> bool:
        """Whether `value` keeps the promise for good. To stay in a range is only kept at the end."""
        match self.kind:
            case "maintain" | "baseline":
                return False
            case "ordinal":
                return value >= ORDINAL_ZONES.index("commit")
            case _:
                return reached(self.start, self.commit, value)


class Dated(Protocol):
    """A milestone as it was planned."""

    @property
    def weight(self) -> Decimal: ...
    @property
    def due_on(self) -> date: ...


class Details(Protocol):
    """What else there is to a promise, by its kind."""

    @property
    def stretch(self) -> Decimal | None: ...
    @property
    def low(self) -> Decimal | None: ...
    @property
    def high(self) -> Decimal | None: ...
    @property
    def tolerance(self) -> Decimal | None: ...
    @property
    def milestones(self) -> Sequence[Dated]: ...
    @property
    def schedule(self) -> Sequence[tuple[date, Decimal]]: ...


class Promise(Protocol):
    """A key result as events and rows tell of it."""

    @property
    def type(self) -> Kind: ...
    @property
    def start(self) -> Decimal: ...
    @property
    def commit(self) -> Decimal: ...
    @property
    def target(self) -> Decimal: ...
    @property
    def due_on(self) -> date: ...
    @property
    def measurement(self) -> Details: ...


def measure_of(promise: Promise, starts_on: date) -> Measure:
    """The measure of a promise whose time begins on `starts_on`.

    Only a maintain one has a range: a tolerance that was once said of another must not keep it from being judged.
    """
    details = promise.measurement
    tolerance = details.tolerance if promise.type == "maintain" else None
    return Measure(
        start=promise.start,
        commit=promise.commit,
        target=promise.target,
        starts_on=starts_on,
        due_on=promise.due_on,
        kind=promise.type,
        stretch=details.stretch,
        range=None if tolerance is None else Range(details.low, details.high, tolerance),
        milestones=tuple(Milestone(each.weight, each.due_on) for each in details.milestones),
        schedule=tuple(details.schedule),
    )
