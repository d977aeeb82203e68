"""The rules of a rhythm that somebody chooses: one stream per cycle, and one for all cycles of an organisation."""

from datetime import date
from typing import Annotated, get_args
from uuid import UUID

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from okr_chassis.rpc.fields import OptionalId
from okr_contracts.checkins import CadenceChosen, Weekday
from okr_contracts.errors import DomainError
from okr_eventstore.decider import Decider
from okr_rules.cadence import default_step_days, doubt_about
from okr_rules.parameters import DEFAULTS

LONGEST_STEP_DAYS = 91
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
"""In the order of `date.weekday`."""

REASONS = {
    "WEEKLY_IS_EXCESSIVE": (
        "weekly check-ins are more than a cycle of this length needs: numbers hardly move in a week, and the asking "
        "costs more than the answers tell; every other week is usual"
    ),
    "MONTHLY_IS_TOO_RARE": (
        "monthly check-ins come too rarely to change course: what goes wrong is seen when a third of a quarter is "
        "over; every other week is usual"
    ),
}
"""Why a rhythm is asked to be confirmed. What is asked, is not forbidden."""


class CadenceSaid(BaseModel):
    """A rhythm as somebody asks for it; nothing said means that it stays."""

    model_config = ConfigDict(frozen=True)

    cycle_id: OptionalId = None
    step_days: Annotated[int, Field(ge=0, le=LONGEST_STEP_DAYS)] = 0
    weekday: Weekday | None = None
    confirmed: bool = False


class ChooseCadence(Struct, frozen=True):
    """A rhythm for dues later than `after`. `days` are the first and the last of its cycle; None for all cycles.

    `step_days` and `weekday` are the whole rhythm as it would be, `as_before` whether it is so already.
    """

    cycle_id: UUID | None
    days: tuple[date, date] | None
    step_days: int | None
    weekday: Weekday
    after: date
    confirmed: bool = False
    as_before: bool = False


class Cadence(Struct, frozen=True):
    """What was chosen last, if anything was."""

    chosen: CadenceChosen | None = None


def decide(state: Cadence, command: ChooseCadence) -> list[CadenceChosen]:
    if command.days is None and command.step_days is not None:
        raise DomainError(
            "STEP_NEEDS_A_CYCLE", "how often it is depends on how long a cycle is: name the cycle, or only a weekday"
        )
    if command.days is not None and command.step_days is not None:
        _require_confirmed(command.step_days, *command.days, command.confirmed)
    chosen = state.chosen
    if command.as_before or (
        chosen is not None and (chosen.step_days, chosen.weekday) == (command.step_days, command.weekday)
    ):
        return []
    return [
        CadenceChosen(
            cycle_id=command.cycle_id,
            step_days=command.step_days,
            weekday=command.weekday,
            after=command.after,
            confirmed=command.confirmed,
        )
    ]


def _require_confirmed(step_days: int, starts_on: date, ends_on: date, confirmed: bool) -> None:
    doubt = doubt_about(step_days, starts_on, ends_on, DEFAULTS)
    if doubt is not None and not confirmed:
        usual = default_step_days(starts_on, ends_on, DEFAULTS)
        raise DomainError(
            doubt,
            f"every {step_days} days instead of every {usual}: {REASONS[doubt]}. Say that you want it anyway, and it "
            "is so",
        )


def evolve(state: Cadence, event: CadenceChosen) -> Cadence:
    return Cadence(event)


cadences: Decider[Cadence, ChooseCadence, CadenceChosen] = Decider(
    category="cadence", initial=Cadence(), decide=decide, evolve=evolve
)
