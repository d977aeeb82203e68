"""The facts all figures are made of: check-ins as people write them, some 600 bytes as an event."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

from okr_contracts.checkins import CheckInRecorded
from okr_contracts.sealed import SealedText

_NAMES = UUID("0190a7c4-3d5e-7b2a-9c1f-5a8e6d4b2f10")
EPOCH = datetime(2026, 1, 1, 8, tzinfo=UTC)
WORDS = (
    "Two of the three pilots signed this week, the third waits for its legal department. "
    "Pricing came up twice; the deck for the next call says more about it. No help needed."
)


def named(name: str) -> UUID:
    """The same id for the same name, so that runs are alike."""
    return uuid5(_NAMES, name)


ACTOR = f"person:{named('ana')}"


NOTE = SealedText(named("ana"), 1, b64encode(bytes(12) + WORDS.encode() + bytes(16)).decode())
"""As long as the sealed words are. Sealing belongs to the door of a service, and is no part of these figures."""


def organization(number: int) -> UUID:
    return named(f"organisation {number}")


def check_in(number: int, key_result_id: UUID) -> CheckInRecorded:
    return CheckInRecorded(
        check_in_id=named(f"check-in {number}"),
        key_result_id=key_result_id,
        value=Decimal(number % 1000) / 10,
        confidence=Decimal(number % 11) / 10,
        note=NOTE,
        occurred_at=EPOCH + timedelta(minutes=number),
    )
