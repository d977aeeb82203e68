"""Writers through the real store: they append, resend and race, and keep a record of all they were told."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from uuid import UUID

from okr_eventstore.errors import ConflictError, StoreUnavailableError
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext, Done, NewEvent
from tests.chaos.history import Answer, History, Sent, Stream
from tests.chaos.run import PATIENCE_SECONDS, Beat
from tests.eventstore.garden import Watered

SAYS = "data->>'note'"
"""Where an event of these writers keeps its text."""
MOST_EVENTS = 3
STALE = 0.03
"""The share of commands that expect a version of long ago."""
RESENT = 0.05
"""The share of finished commands that are sent again."""
GIVES_UP = 0.05
LEAST_PATIENCE_SECONDS = 0.02
"""The share of calls that are given up at some moment before this, and sent again through any of the logs."""


class Writers:
    """Several writers over the same streams, each through a log of its own as long as that answers."""

    def __init__(
        self,
        streams: Sequence[Stream],
        beat: Beat,
        logs: Sequence[EventLog],
        turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Each waits for its `turn` before it thinks of another command; without one it never rests."""
        self.history: History = {}
        self.conflicts = 0
        self.in_doubt = 0
        """How often a command had to be sent again because nobody could say what had become of it."""
        self._streams = streams
        self._beat = beat
        self._logs = logs
        self._known: dict[Stream, int] = {}
        self._turn = turn
        self._stopping = False

    def stop(self) -> None:
        """Let every writer bring the command it has in hand to its end."""
        self._stopping = True

    async def write(self, log: EventLog, choices: random.Random) -> None:
        while not self._stopping:
            if self._turn is not None:
                await self._turn()
            command_id = UUID(int=choices.getrandbits(128))
            stream = choices.choice(self._streams)
            count = choices.randint(1, MOST_EVENTS)
            sent = Sent(stream, tuple(f"{command_id}/{number}" for number in range(count)))
            self.history[command_id] = sent
            expected = 0 if choices.random() < STALE else self._known.get(stream, 0)
            await self._carry_through(log, command_id, sent, expected, choices)
            if choices.random() < RESENT:
                await self._carry_through(log, command_id, sent, expected, choices)

    async def _carry_through(
        self, log: EventLog, command_id: UUID, sent: Sent, expected: int, choices: random.Random
    ) -> None:
        """Send a command until it is answered."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    gives_up = choices.random() < GIVES_UP
                    patience = choices.uniform(0, LEAST_PATIENCE_SECONDS) if gives_up else None
                    try:
                        async with asyncio.timeout(patience):
                            done = await _append(log, command_id, sent, expected)
                    except ConflictError as error:
                        self.conflicts += 1
                        expected = error.actual
                    except (StoreUnavailableError, TimeoutError):
                        self.in_doubt += 1
                        log = choices.choice(self._logs)
                    else:
                        sent.answers.append(Answer(done.version, done.position.position))
                        self._known[sent.stream] = max(done.version, self._known.get(sent.stream, 0))
                        self._beat.tick()
                        return
        except TimeoutError:
            raise AssertionError(f"command {command_id} was not answered in {PATIENCE_SECONDS:.0f} s") from None


async def _append(log: EventLog, command_id: UUID, sent: Sent, expected: int) -> Done:
    organization_id, stream_id = sent.stream
    context = CommandContext(
        organization_id=organization_id,
        command_id=command_id,
        fingerprint=command_id.bytes,
        actor="person:ana",
        correlation_id=command_id,
    )
    events = [NewEvent(Watered(Decimal(1), says)) for says in sent.says]
    return await log.append(stream_id, expected, events, context)
