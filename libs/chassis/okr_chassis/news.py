"""Reading what was written a moment ago, for those who cannot name its position."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from okr_chassis.identity.auth import caller
from okr_chassis.service import Reader
from okr_eventstore.log import EventLog
from okr_eventstore.model import Position, shard_of

Found = TypeVar("Found")


class News:
    """How far a service's own log goes, and reads that have heard all of it."""

    def __init__(self, log: EventLog, reader: Reader) -> None:
        self._log = log
        self._reader = reader

    async def last(self) -> list[str]:
        """The last position of the caller's organisation in our own log, if there is any."""
        shard = shard_of(caller().organization_id)
        head = (await self._log.heads()).get(shard)
        return [str(Position(self._log.service, shard, *head))] if head is not None and head.position else []

    async def all_heard(self) -> None:
        """Wait until the read model knows all that the log knows of the caller's organisation by now."""
        await self._reader.caught_up(await self.last())

    async def look(self, read: Callable[[], Awaitable[Found]], complete: Callable[[Found], bool]) -> Found:
        """Read, and where the answer is not complete, hear all news and read again.

        Other services ask for what a person may have named a moment after it came to be. They know no
        position to wait for, and a NOT_FOUND for something that exists would be wrong.
        """
        found = await read()
        if complete(found):
            return found
        await self.all_heard()
        return await read()
