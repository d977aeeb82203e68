"""Free text that people wrote: in events, rows and snapshots it is sealed, never plain.

Titles, names of units and numbers are open, because everybody works with them. What somebody
writes in their own words may be about people, so it is readable only while its author's key exists.
"""

from collections.abc import Mapping
from uuid import UUID

from msgspec import Struct

ERASED = "erased"
"""What is shown where an author's words or name were."""


class SealedText(Struct, frozen=True):
    """Words of `author_id`, readable with version `key_version` of their key and for as long as that exists.

    `data` is nonce and ciphertext (AES-256-GCM) in base64. The same words of the same author about the
    same thing give the same SealedText, so rules can compare what they cannot read.
    """

    author_id: UUID
    key_version: int
    data: str


def sealed_fields(event: type[Struct]) -> Mapping[str, str]:
    """Which fields of an event are sealed, each with the field that holds the id of what it is about.

    An event says so itself: `__sealed__ = {"note": "check_in_id"}`. The text is bound to that id and to
    its field's name, so that nobody can make it say something about another thing.
    """
    found: Mapping[str, str] = getattr(event, "__sealed__", {})
    return found
