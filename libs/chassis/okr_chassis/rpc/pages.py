"""Lists in pages: keyset, never OFFSET, and tokens that only continue the question they came from."""

import base64
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import Message

from okr_chassis.identity.auth import caller
from okr_contracts.errors import InvalidInputError, Violation

DEFAULT_SIZE = 50
LARGEST_SIZE = 1000
_NONCE_BYTES = 12
_LONGEST_TOKEN = 2048

Listed = TypeVar("Listed")


@dataclass(frozen=True)
class Page:
    """Which slice of a list is wanted: at most `size` rows, those after the keys in `after`.

    Ask for `limit` rows, one more than the page holds: only then there is a next page.
    """

    size: int
    after: tuple[str, ...] | None
    seal: Callable[[Sequence[str]], str] = field(repr=False)

    @property
    def limit(self) -> int:
        return self.size + 1

    @property
    def after_id(self) -> UUID | None:
        """The last row's id, for lists ordered by an id alone."""
        return UUID(self.after[0]) if self.after else None

    def cut(self, rows: Sequence[Listed], key: Callable[[Listed], Sequence[object]]) -> tuple[list[Listed], str]:
        """The rows of this page and the token of the next, empty at the end. `key` names a row's place in the order."""
        page = list(rows[: self.size])
        if len(rows) <= self.size:
            return page, ""
        return page, self.seal([str(part) for part in key(page[-1])])


class Pages:
    """Opens and seals page tokens. A token grants nothing: it is bound to the organisation and to the question."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(sha256(b"okr page tokens" + secret).digest())

    def open(self, request: Message) -> Page:
        """The page a list request asks for, out of its field `page`.

        All its other fields are the filter; only `min_positions` may change from page to page.
        Raises InvalidInputError for a negative size, or a token that belongs to another question.
        """
        asked = getattr(request, "page")  # noqa: B009 - every list request has one, Message has not
        if asked.size < 0:
            raise InvalidInputError([Violation("page.size", "must not be negative", "PAGE_SIZE_NEGATIVE")])
        question = self._question(request)
        after = self._opened(asked.token, question) if asked.token else None
        size = min(asked.size or DEFAULT_SIZE, LARGEST_SIZE)
        return Page(size, after, lambda keys: self._sealed(keys, question))

    def _question(self, request: Message) -> bytes:
        question = type(request)()
        question.CopyFrom(request)
        for changing in ("page", "min_positions"):
            if changing in question.DESCRIPTOR.fields_by_name:
                question.ClearField(changing)
        body = question.SerializeToString(deterministic=True)
        return b"\x00".join((caller().organization_id.bytes, question.DESCRIPTOR.full_name.encode(), body))

    def _sealed(self, keys: Sequence[str], question: bytes) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, json.dumps(list(keys)).encode(), question)
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def _opened(self, token: str, question: bytes) -> tuple[str, ...]:
        try:
            if len(token) > _LONGEST_TOKEN:
                raise ValueError("longer than any token")
            sealed = base64.b64decode(token, altchars=b"-_", validate=True)
            keys: Any = json.loads(self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], question))
            return tuple(keys)
        except (ValueError, InvalidTag):
            message = "is not a token of this list; use next_page_token with the same filter, or start without one"
            raise InvalidInputError([Violation("page.token", message, "PAGE_TOKEN_INVALID")]) from None
