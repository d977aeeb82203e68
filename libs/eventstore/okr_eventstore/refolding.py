"""A shard of the log folded from nothing, straight into tables: what a rebuild and a comparison share."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Protocol

from msgspec.structs import astuple

from okr_eventstore.checkpoints import Stream
from okr_eventstore.database import Connection
from okr_eventstore.errors import StoreUnavailableError
from okr_eventstore.folding import FoldedRows
from okr_eventstore.model import Head, RecordedEvent
from okr_eventstore.projection import Projection
from okr_eventstore.tables import copy_columns, tables_of

PAGE_EVENTS = 2000
"""Events read at once; the next page is on its way while one is folded."""
COPY_VERSIONS = 20_000
"""Versions of rows held before they are copied to the history. Only a shard's rows themselves stay in memory."""


class LogReader(Protocol):
    """The part of an EventSource that a rebuild needs."""

    async def heads(self) -> dict[int, Head]: ...

    async def backfill(self, shard: int, after: int, up_to: int) -> Sequence[RecordedEvent]: ...


class Filler:
    """Folds a shard from nothing and copies what comes of it into `targets`: table → (live, history)."""

    def __init__(self, projection: Projection, connection: Connection, targets: Mapping[str, tuple[str, str]]) -> None:
        self._projection = projection
        self._connection = connection
        self._targets = targets
        self._tables = tables_of(projection)
        self._rows = FoldedRows(projection.rows, complete=True)

    async def fill(
        self,
        reader: LogReader,
        shard: int,
        up_to: int,
        parked: Mapping[Stream, int],
        report: Callable[[int], None],
    ) -> None:
        """Raises what the fold raises, and what PostgreSQL says to rows it cannot take."""
        async with contextlib.aclosing(pages(reader, shard, 0, up_to, PAGE_EVENTS)) as found:
            async for page in found:
                events = [event for event in page if not _is_parked(event, parked)] if parked else page
                error = self._rows.fold(self._projection.project, events)
                if error is not None:
                    raise error
                await self._copy_versions(COPY_VERSIONS)
                report(page[-1].position)
        await self._copy_versions(0)
        for table in self._tables:
            columns, _ = copy_columns(table)
            records = [
                (*table.values(row), stamp.position, stamp.recorded_at, stamp.stream_version)
                for row, stamp in self._rows.kept[table.kind].final()
            ]
            await self._copy(self._targets[table.name][0], columns, records)

    async def _copy_versions(self, at_least: int) -> None:
        for table in self._tables:
            kept = self._rows.kept[table.kind]
            if not kept.versions or len(kept.versions) < at_least:
                continue
            _, columns = copy_columns(table)
            records = [(*table.values(row), *astuple(stamp)) for row, stamp in kept.versions]
            kept.versions = []
            await self._copy(self._targets[table.name][1], columns, records)

    async def _copy(self, name: str, columns: Sequence[str], records: list[tuple[object, ...]]) -> None:
        if records:
            await self._connection.copy_records_to_table(name, records=records, columns=columns)


async def pages(
    reader: LogReader, shard: int, after: int, up_to: int, size: int
) -> AsyncGenerator[Sequence[RecordedEvent], None]:
    """A shard's events `after` < position ≤ `up_to`, page by page, the next one fetched meanwhile."""

    async def read(start: int) -> Sequence[RecordedEvent]:
        end = min(up_to, start + size)
        events = await reader.backfill(shard, start, end)
        if len(events) != end - start or events[-1].position != end:
            raise StoreUnavailableError(f"{shard}: positions {start + 1} to {end} asked, {len(events)} events answered")
        return events

    coming: asyncio.Task[Sequence[RecordedEvent]] | None = None
    try:
        for start in range(after, up_to, size):
            page = await (coming or asyncio.create_task(read(start)))
            coming = asyncio.create_task(read(start + size)) if start + size < up_to else None
            yield page
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


def _is_parked(event: RecordedEvent, parked: Mapping[Stream, int]) -> bool:
    first = parked.get((event.organization_id, event.stream_id))
    return first is not None and event.position >= first
