"""A shard of the log folded from nothing, straight into tables: what a rebuild and a comparison share.

Three things go on at once: PostgreSQL finds the next page, this process folds the one at hand, and PostgreSQL takes
the rows of those before.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from okr_eventstore.checkpoints import Stream
from okr_eventstore.copying import copied, live_rows, past_rows
from okr_eventstore.database import Connection
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.folding import FoldedRows
from okr_eventstore.model import Head, RecordedEvent
from okr_eventstore.projection import ProjectedEvent, Projection
from okr_eventstore.tables import copy_columns, tables_of

PAGE_EVENTS = 1000
"""Events read at once; the next page is on its way while one is folded."""
COPY_ROWS = 5_000
"""Rows encoded or copied at once. Versions are encoded page by page; rows stay in memory until their shard ends."""
COPY_BYTES = 1_000_000
"""So much of a history is gathered before it is copied."""


class LogReader(Protocol):
    """The part of an EventSource that a rebuild needs."""

    async def heads(self) -> dict[int, Head]: ...

    async def backfill(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]: ...


@runtime_checkable
class PageReader(LogReader, Protocol):
    """A reader that can be quicker where events are only folded: it leaves out what no fold may look at."""

    async def page(self, shard: int, after: int, up_to: int) -> Sequence[ProjectedEvent]:
        """The events `after` < position ≤ `up_to`, in order."""


class Filler:
    """Folds a shard from nothing and copies what comes of it into `targets`: table → (live, history)."""

    def __init__(self, projection: Projection, connection: Connection, targets: Mapping[str, tuple[str, str]]) -> None:
        self._projection = projection
        self._connection = connection
        self._targets = targets
        self._tables = tables_of(projection)
        self._rows = FoldedRows(projection.rows, complete=True)
        self._past: dict[str, list[bytes]] = {table.name: [] for table in self._tables if table.history}
        self._copying: asyncio.Task[object] | None = None

    async def fill(
        self,
        reader: LogReader,
        shard: int,
        up_to: int,
        parked: Mapping[Stream, int],
        report: Callable[[int], None],
    ) -> None:
        """Raises what the fold raises, and what PostgreSQL says to rows it cannot take."""
        read = reader.page if isinstance(reader, PageReader) else reader.backfill
        try:
            async with contextlib.aclosing(pages(read, shard, 0, up_to, PAGE_EVENTS)) as found:
                async for page in found:
                    events = [event for event in page if not _is_parked(event, parked)] if parked else page
                    error = self._rows.fold(self._projection.project, events)
                    if error is not None:
                        raise error
                    await self._copy_versions(COPY_BYTES)
                    report(page[-1].position)
            await self._copy_versions(1)
            for table in self._tables:
                columns, _ = copy_columns(table)
                rows = self._rows.kept[table.kind].final()
                for start in range(0, len(rows), COPY_ROWS):
                    data = live_rows(table, rows[start : start + COPY_ROWS])
                    await self._copy(self._targets[table.name][0], columns, [data])
        finally:
            await self._settle()

    async def _copy_versions(self, at_least: int) -> None:
        """Encode the page's versions while they are at hand, and copy them when there are enough."""
        for table in self._tables:
            kept, parts = self._rows.kept[table.kind], self._past.get(table.name, [])
            if kept.versions:
                parts.append(past_rows(table, kept.versions))
                kept.versions = []
            if sum(map(len, parts)) >= at_least:
                self._past[table.name] = []
                await self._copy(self._targets[table.name][1], copy_columns(table)[1], parts)

    async def _copy(self, name: str, columns: Sequence[str], parts: Sequence[bytes]) -> None:
        """Have PostgreSQL take rows while the fold goes on; one COPY at a time."""
        await self._settle()
        self._copying = asyncio.create_task(
            self._connection.copy_to_table(name, source=copied(parts), columns=columns, format="binary")
        )
        await asyncio.sleep(0)  # let it set out

    async def _settle(self) -> None:
        copying, self._copying = self._copying, None
        if copying is not None:
            await copying


EventT = TypeVar("EventT", bound=ProjectedEvent)


async def pages(
    read: Callable[[int, int, int], Awaitable[Sequence[EventT]]], shard: int, after: int, up_to: int, size: int
) -> AsyncGenerator[Sequence[EventT], None]:
    """A shard's events `after` < position ≤ `up_to`, page by page, the next one fetched meanwhile."""

    async def checked(start: int) -> Sequence[EventT]:
        end = min(up_to, start + size)
        events = await read(shard, start, end)
        if len(events) != end - start or events[-1].position != end:
            raise StoreUnavailableError(f"{shard}: positions {start + 1} to {end} asked, {len(events)} events answered")
        return events

    coming: asyncio.Task[Sequence[EventT]] | None = None
    try:
        for start in range(after, up_to, size):
            page = await (coming or checked(start))
            coming = asyncio.create_task(checked(start + size)) if start + size < up_to else None
            await asyncio.sleep(0)  # so that it is asked now: the fold will leave no moment for it
            yield page
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


def _is_parked(event: ProjectedEvent, parked: Mapping[Stream, int]) -> bool:
    first = parked.get((event.organization_id, event.stream_id))
    return first is not None and event.position >= first
