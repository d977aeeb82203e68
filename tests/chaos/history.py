"""What callers were told, what the log holds, and every way in which the two can disagree.

The judge knows nothing of the store: it compares plain facts, so that it can be shown to catch each
kind of loss (test_history.py) and can judge an impostor in the store's place (test_controls.py).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import asyncpg

Stream = tuple[UUID, str]
"""An organisation and a stream of it."""


class Answer(NamedTuple):
    """What a caller was told of a command: the stream's version after it, and the position of its last event."""

    version: int
    position: int


@dataclass
class Sent:
    """A command as a caller knows it: where it goes, what it says, and all the answers it got."""

    stream: Stream
    says: tuple[str, ...]
    """One text an event, unlike any other's."""
    answers: list[Answer] = field(default_factory=list)


class Stored(NamedTuple):
    """An event as the log holds it."""

    shard: int
    position: int
    stream: Stream
    version: int
    command_id: UUID
    says: str


class Held(NamedTuple):
    """All that a log holds."""

    events: Sequence[Stored]
    """In order of shard and position."""
    heads: dict[int, int]
    """Shard → the last position it gave out."""


History = dict[UUID, Sent]
"""Command id → what became of it for its caller."""


def disagreements(history: History, held: Held) -> list[str]:
    """Every broken promise, in words; none when the log kept all of them."""
    return [*holes(held), *_broken_commands(history, held)]


def remembered(held: Held) -> History:
    """What a log held at one time, as commands that were answered: all of it must stay."""
    history: History = {}
    for event in held.events:
        before = history.get(event.command_id)
        says = (*before.says, event.says) if before else (event.says,)
        history[event.command_id] = Sent(event.stream, says, [Answer(event.version, event.position)])
    return history


def missed(seen: Iterable[tuple[int, int]], held: Held) -> list[str]:
    """What a reader that tails the log did wrong: `seen` are the shards and positions handed to it, in order."""
    faults = []
    by_shard: dict[int, list[int]] = defaultdict(list)
    for shard, position in seen:
        by_shard[shard].append(position)
    for shard, there in _by_shard(held).items():
        read = by_shard.pop(shard, [])
        positions = [event.position for event in there]
        if read == positions:
            continue
        lost = sorted(set(positions) - set(read))
        if lost:
            faults.append(f"shard {shard}: the reader was never handed positions {_some(lost)}")
        if len(set(read)) < len(read):
            faults.append(f"shard {shard}: the reader was handed an event twice")
        if read != sorted(read):
            faults.append(f"shard {shard}: the reader was handed events out of order")
        if set(read) - set(positions):
            faults.append(f"shard {shard}: the reader saw events that are not there any more")
    return faults + [f"shard {shard}: the reader saw events of an empty shard" for shard in by_shard]


def _by_shard(held: Held) -> dict[int, list[Stored]]:
    found: dict[int, list[Stored]] = defaultdict(list)
    for event in held.events:
        found[event.shard].append(event)
    return found


def holes(held: Held) -> list[str]:
    """Positions are 1, 2, 3 … up to the shard's head, and versions 1, 2, 3 … in each stream."""
    faults = []
    by_shard = _by_shard(held)
    for shard in sorted(by_shard.keys() | held.heads.keys()):
        positions = [event.position for event in by_shard.get(shard, [])]
        head = held.heads.get(shard, 0)
        if positions != list(range(1, len(positions) + 1)):
            faults.append(f"shard {shard}: its positions have a hole")
        if head != (positions[-1] if positions else 0):
            faults.append(f"shard {shard}: its head is {head}, its last event at {positions[-1] if positions else 0}")
    versions: dict[Stream, list[int]] = defaultdict(list)
    for event in held.events:
        versions[event.stream].append(event.version)
    for stream, found in versions.items():
        if found != list(range(1, len(found) + 1)):
            faults.append(f"{stream[1]}: in order of position its versions are {_some(found)}")
    return faults


def _broken_commands(history: History, held: Held) -> list[str]:
    faults = []
    effects: dict[UUID, list[Stored]] = defaultdict(list)
    for event in held.events:
        effects[event.command_id].append(event)
    for command_id, sent in history.items():
        found = effects.pop(command_id, [])
        said = [event.says for event in found]
        if len(set(sent.answers)) > 1:
            faults.append(f"command {command_id}: answered {sent.answers}, and not once and for all")
        if not sent.answers and not found:
            continue  # never answered and never done: nothing was promised
        if sent.says and not found:
            faults.append(f"command {command_id}: acknowledged at {sent.answers[0]} and lost")
        elif len(found) > len(sent.says):
            faults.append(f"command {command_id}: applied twice: {said}")
        elif said != list(sent.says) or any(event.stream != sent.stream for event in found):
            faults.append(f"command {command_id}: said {sent.says}, the log holds {said}")
        elif found and sent.answers and sent.answers[0] != Answer(found[-1].version, found[-1].position):
            faults.append(f"command {command_id}: answered {sent.answers[0]}, its last event is {found[-1]}")
        elif found and found[-1].position - found[0].position != len(found) - 1:
            faults.append(f"command {command_id}: other events lie between its own")
    return faults + [f"command {command_id}: nobody sent it" for command_id in effects]


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:12])) + (" …" if len(numbers) > 12 else "")


async def read(dsn: str, schema: str, says: str) -> Held:
    """A log's tables as they are, past all code of the store. `says` is SQL for an event's text."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": schema})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            events = await connection.fetch(
                f"SELECT shard, position, organization_id, stream_id, version, command_id, {says} AS says"
                " FROM event ORDER BY shard, position"
            )
            heads = await connection.fetch("SELECT shard, head FROM shard WHERE head > 0")
    finally:
        await connection.close()
    return Held(
        [
            Stored(shard, position, (organization_id, stream_id), version, command_id, said)
            for shard, position, organization_id, stream_id, version, command_id, said in events
        ],
        {row["shard"]: row["head"] for row in heads},
    )
