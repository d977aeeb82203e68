"""A relay in a process of its own, that can be held at a chosen moment and killed there.

Once it has published `free_events` it stops at `held_at`, says so, and goes on when it is told to. It is this module
run with its settings as JSON; what it says are lines of JSON.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import IO, Any

from okr_chassis.kafka import publishing
from okr_chassis.kafka import relay as relay_module
from okr_chassis.kafka.batches import RecordBatch
from okr_chassis.kafka.leases import Lease, Progress, Standing
from okr_chassis.kafka.publishing import Publisher
from okr_chassis.kafka.relay import Relay, Round
from okr_chassis.kafka.tail import Tail, TailReader
from okr_chassis.telemetry import logs
from okr_eventstore.database import Database
from tests.support.told_process import ToldProcess, say

BEFORE_SEND = "before send"
BEFORE_ACK = "after send, before ack"
BEFORE_CURSOR = "after ack, before cursor"
MOMENTS = (BEFORE_SEND, BEFORE_ACK, BEFORE_CURSOR)


class HeldRelay(Relay):
    """Stops at one moment of a round."""

    def __init__(self, *args: Any, held_at: str, free_events: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.go = asyncio.Event()
        self._held_at = held_at
        self._free_events = free_events

    async def _hold(self, moment: str, published: int) -> None:
        if moment == self._held_at and published >= self._free_events and not self.go.is_set():
            say(held=moment)
            await self.go.wait()

    async def _publish(self, publisher: Publisher, parts: Round) -> None:
        await self._hold(BEFORE_SEND, self.published)
        await super()._publish(publisher, parts)

    async def _send(self, publisher: Publisher, batches: Mapping[int, RecordBatch]) -> dict[int, int]:
        ends = await super()._send(publisher, batches)
        await self._hold(BEFORE_ACK, self.published)
        return ends

    async def _store(self, progress: Mapping[Lease, Progress]) -> None:
        sent = sum(len(positions) for _, positions in progress.values())
        if sent and self.published > self._free_events:
            await self._hold(BEFORE_CURSOR, self.published)
        await super()._store(progress)


class HastyRelay(HeldRelay):
    """Moves its cursors before anything is acknowledged: the control that must be found out."""

    async def _publish(self, publisher: Publisher, parts: Round) -> None:
        early = {lease: Progress(self._offsets[lease.partition], part.positions) for lease, part in parts.items()}
        await self._store(early)
        await super()._publish(publisher, parts)


class TrustingRelay(Relay):
    """Believes the cursors it finds and never looks at Kafka, so that it cannot make good what others did."""

    async def _look(self, tails: TailReader, partition: int, standing: Standing) -> Tail:
        return Tail(Progress(standing.next_offset, {}), True, {})


class RecklessRelay(HastyRelay, TrustingRelay):
    """Both: what it loses nobody of its kind makes good."""


KINDS: dict[str, type[HeldRelay]] = {kind.__name__: kind for kind in (HeldRelay, HastyRelay, RecklessRelay)}


async def main(settings: dict[str, Any]) -> None:
    logs.configure("critical")
    database = await Database.open(settings["dsn"], settings["schema"])
    if settings["patience_seconds"] is not None:
        publishing.ACK_SECONDS = relay_module.CHECK_SECONDS = settings["patience_seconds"]
    relay = KINDS[settings["kind"]](
        "garden", database, settings["bootstrap"], partitions=8, owner=settings["owner"], prefix=settings["prefix"],
        lease_seconds=settings["lease_seconds"], held_at=settings["held_at"], free_events=settings["free_events"],
    )  # fmt: skip
    running = asyncio.create_task(relay.run())
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match line.strip():
            case b"go":
                relay.go.set()
            case b"status":
                say(
                    published=relay.published,
                    fenced=relay.fenced,
                    takeovers=relay.takeovers,
                    held=len(relay.leases.held),
                )
            case _:
                break
    await relay.close()
    await running
    await database.close()


class RelayProcess(ToldProcess):
    """The other end: how a test sees and treats it."""

    async def held(self) -> str:
        """Wait until it has come to its moment."""
        return str((await self.heard())["held"])

    async def status(self) -> dict[str, int]:
        await self.tell("status")
        return await self.heard()

    async def go(self) -> None:
        await self.tell("go")


@asynccontextmanager
async def relay_process(
    database: Database,
    bootstrap: list[str],
    prefix: str,
    *,
    held_at: str = "",
    free_events: int = 0,
    kind: type[HeldRelay] = HeldRelay,
    lease_seconds: float = 1.0,
    owner: str = "process",
    patience_seconds: float | None = None,
    complaints: IO[bytes] | None = None,
) -> AsyncIterator[RelayProcess]:
    """A relay of the garden's log elsewhere on this machine; killed in the end if it still lives.

    `patience_seconds` is how long it waits for Kafka, and looks away from it, at most.
    """
    settings = {
        "dsn": database.dsn, "schema": database.schema, "bootstrap": bootstrap, "prefix": prefix,
        "held_at": held_at, "free_events": free_events, "kind": kind.__name__, "lease_seconds": lease_seconds,
        "owner": owner, "patience_seconds": patience_seconds,
    }  # fmt: skip
    relay = RelayProcess(await ToldProcess.start("tests.support.relay_process", settings, complaints))
    try:
        yield relay
    finally:
        if relay.lives:
            await relay.kill()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
