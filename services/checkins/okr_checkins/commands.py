"""What may be asked of the check-ins of a key result."""

from datetime import datetime

from okr_chassis.fields import (
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
from pydantic import BaseModel, ConfigDict


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True)


class OpenCheckIns(_Command):
    """From now on the key result takes values dated from `starts_on`."""

    key_result_id: Id
    objective_id: Id
    starts_on: Day


class RecordCheckIn(_Command):
    """The key result stood at `value`.

    Without `occurred_at` it does so now, without `confidence` its people are as confident as last
    time. `opening` is what goals says of a key result that nobody here has heard of yet: a check-in
    right after the activation is then recorded together with the opening, all or nothing.
    """

    check_in_id: Id
    key_result_id: Id
    value: Number
    confidence: OptionalConfidence = None
    note: Note = ""
    occurred_at: OptionalMoment = None
    at: datetime
    opening: OpenCheckIns | None = None


class CorrectCheckIn(_Command):
    """An earlier check-in said something wrong; whatever is left out stays."""

    check_in_id: Id
    key_result_id: Id
    value: OptionalNumber = None
    confidence: OptionalConfidence = None
    note: OptionalNote = None
    reason: Text


class CloseCheckIns(_Command):
    key_result_id: Id


Command = OpenCheckIns | RecordCheckIn | CorrectCheckIn | CloseCheckIns
