"""Events to bytes and back, over every version ever written."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class UnknownEvent(Struct, frozen=True):
    """A type this release has never heard of: consumers pass it by and count it."""

    type: str


class UnreadableEvent(Struct, frozen=True):
    """A known type this release cannot read: of a newer release, or damaged. Its stream waits, others flow."""

    type: str
    reason: str


class Codec:
    """Writes today's version of each event, reads all versions there ever were.

    `versions` says what is written today, `upcasters[(type, version)]` leads one version on. Decoding
    validates, and never raises: what cannot be read says so in its place.
    """

    def __init__(
        self,
        events: Iterable[type[Struct]],
        versions: Mapping[str, int] | None = None,
        upcasters: Mapping[tuple[str, int], Upcaster] | None = None,
    ) -> None:
        self._versions = dict(versions or {})
        self._upcasters = dict(upcasters or {})
        self._encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")
        self._types = {event.__name__: event for event in events}
        self._decoders = {name: msgspec.json.Decoder(event) for name, event in self._types.items()}
        self._current = {(name, self._versions.get(name, 1)): each for name, each in self._decoders.items()}

    def encode(self, event: Struct) -> tuple[str, int, str]:
        """Type, schema version and JSON text. Raises ValueError for a type that no reader would know."""
        name = type(event).__name__
        if self._types.get(name) is not type(event):
            raise ValueError(f"{name} is not one of this log's events; add it to the registry")
        return name, self._versions.get(name, 1), self._encoder.encode(event).decode()

    @property
    def current(self) -> dict[tuple[str, int], type[Struct]]:
        """Every type in today's version: what is stored so decodes as it is."""
        return {kind: self._types[kind[0]] for kind in self._current}

    def decode(self, name: str, version: int, data: str | bytes) -> Struct:
        """The event as today's type; UnknownEvent or UnreadableEvent where this release cannot know better."""
        decoder = self._current.get((name, version))
        if decoder is not None:
            try:
                return decoder.decode(data)
            except ValueError as error:  # msgspec's errors are ValueErrors, those of text that is no UTF-8 too
                return UnreadableEvent(name, f"does not decode: {error}")
        event = self._types.get(name)
        if event is None:
            return UnknownEvent(name)
        today = self._versions.get(name, 1)
        if version > today:
            return UnreadableEvent(name, "is of a newer release; retry after an upgrade")
        try:
            fields = msgspec.json.decode(data)
            for older in range(version, today):
                fields = self._upcasters[name, older](fields)
            return msgspec.convert(fields, event, strict=False)
        except (ValueError, TypeError, LookupError) as error:
            return UnreadableEvent(name, f"cannot be led up to version {today}: {type(error).__name__}: {error}")
