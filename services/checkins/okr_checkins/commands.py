"""What may be asked of the check-ins of a key result."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True)


class OpenCheckIns(_Command):
    """From now on the key result takes values dated from `starts_on`."""

    key_result_id: UUID
    objective_id: UUID
    starts_on: date


class RecordCheckIn(_Command):
    """The key result stood at `value`.

    Without `occurred_at` it does so now, without `confidence` its people are as confident as last
    time. `opening` is what goals says of a key result that nobody here has heard of yet: a check-in
    right after the activation is then recorded together with the opening, all or nothing.
    """

    check_in_id: UUID
    key_result_id: UUID
    value: Decimal
    confidence: Decimal | None = None
    note: str = ""
    occurred_at: datetime | None = None
    at: datetime
    opening: OpenCheckIns | None = None


class CorrectCheckIn(_Command):
    """An earlier check-in said something wrong; whatever is left out stays."""

    check_in_id: UUID
    key_result_id: UUID
    value: Decimal | None = None
    confidence: Decimal | None = None
    note: str | None = None
    reason: str


class CloseCheckIns(_Command):
    key_result_id: UUID


Command = OpenCheckIns | RecordCheckIn | CorrectCheckIn | CloseCheckIns
