"""What may be asked of the check-ins of a key result."""

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from okr_chassis.rpc.fields import (
    Day,
    Id,
    Note,
    Number,
    OptionalConfidence,
    OptionalMoment,
    OptionalNote,
    OptionalNumber,
    Text,
)
from okr_contracts.goals import KeyResultType
from okr_contracts.sealed import SealedText

NOT_READABLE = object()
"""In place of a field that was refused itself: what depends on it is not refused as well."""


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True)


class OpenCheckIns(_Command):
    """From now on the key result takes values dated from `starts_on`, as its type has them."""

    key_result_id: Id
    objective_id: Id
    starts_on: Day
    type: KeyResultType | None = None
    milestones: tuple[tuple[Id, Number], ...] = ()


class MilestoneReport(_Command):
    """So much of a milestone is done; nothing said means all of it."""

    milestone_id: Id
    share: OptionalConfidence = None
    accepted: bool = False


class _CheckIn(_Command):
    """The key result stood at `value`, or one of its milestones has come as far as is reported.

    Without `occurred_at` it does so now, without `confidence` its people are as confident as last
    time. `opening` is what goals says of a key result that nobody here has heard of yet: a check-in
    right after the activation is then recorded together with the opening, all or nothing.
    """

    check_in_id: Id
    key_result_id: Id
    milestone: MilestoneReport | None = None
    value: OptionalNumber = Field(default=None, validate_default=True)
    confidence: OptionalConfidence = None
    occurred_at: OptionalMoment = None
    at: datetime
    opening: OpenCheckIns | None = None

    @field_validator("value")
    @classmethod
    def _one_of_the_two(cls, value: Decimal | None, info: ValidationInfo) -> Decimal | None:
        if value is None and info.data.get("milestone", NOT_READABLE) is None:
            raise PydanticCustomError("required", "is required")
        if value is not None and info.data.get("milestone") is not None:
            raise PydanticCustomError("not_with_milestone", "follows from the milestones: report one, or give a value")
        return value


class CheckInSaid(_CheckIn):
    """A check-in as somebody says it, in plain words. No rule sees it so."""

    note: Note = ""


class RecordCheckIn(_CheckIn):
    note: InstanceOf[SealedText] | None = None


class _Correction(_Command):
    """An earlier check-in said something wrong; whatever is left out stays."""

    check_in_id: Id
    key_result_id: Id
    value: OptionalNumber = None
    confidence: OptionalConfidence = None


class CorrectionSaid(_Correction):
    """A correction as somebody says it, in plain words. No rule sees it so."""

    note: OptionalNote = None
    reason: Text


class CorrectCheckIn(_Correction):
    note: InstanceOf[SealedText] | None = None
    reason: InstanceOf[SealedText] | None = None


class CloseCheckIns(_Command):
    key_result_id: Id


Command = OpenCheckIns | RecordCheckIn | CorrectCheckIn | CloseCheckIns
