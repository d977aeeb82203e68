"""No loops, whoever writes at the same time: a cycle's graph is one stream of a real log."""

import asyncio
import random
from collections.abc import AsyncIterator
from hashlib import sha256
from uuid import UUID, uuid4

import pytest

from okr_alignment.commands import Align
from okr_alignment.decider import alignments
from okr_contracts.alignment import Aligned
from okr_contracts.errors import DomainError
from okr_contracts.registry import EVENTS, SCHEMA_VERSIONS
from okr_eventstore.codec import Codec
from okr_eventstore.database import Database
from okr_eventstore.errors import ConflictError
from okr_eventstore.executor import CommandExecutor
from okr_eventstore.log import EventLog
from okr_eventstore.model import CommandContext
from tests.alignment.builders import CYCLE, align, objective

ORGANIZATION = UUID(int=7)
RING = 32
TRIES = 200
"""Ends a test that does not, long after luck could explain it."""


@pytest.fixture
async def log(database: Database) -> AsyncIterator[EventLog]:
    log = EventLog("alignment", database, Codec(EVENTS["alignment"], SCHEMA_VERSIONS))
    await log.start()
    yield log
    await log.close()


async def insist(executor: CommandExecutor, command: Align) -> DomainError | None:
    """Align as a client does, asking again after each lost race; the refusal when a rule says no."""
    command_id = uuid4()
    context = CommandContext(ORGANIZATION, command_id, sha256(command_id.bytes).digest(), "person:ana", command_id)
    for _ in range(TRIES):
        try:
            await executor.execute(alignments, alignments.stream(CYCLE), command, context)
            return None
        except ConflictError:
            continue
        except DomainError as refusal:
            return refusal
    raise AssertionError(f"{TRIES} races lost in a row")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_of_32_that_would_close_a_ring_at_the_same_time_exactly_one_is_refused(log: EventLog, seed: int) -> None:
    """Two processes, each with a memory of its own; the depth is lifted so that only the loop can refuse."""
    executors = [CommandExecutor(log), CommandExecutor(log)]
    ring = [align(each, (each + 1) % RING, max_depth=RING) for each in range(RING)]
    random.Random(seed).shuffle(ring)

    answers = await asyncio.gather(*(insist(executors[n % 2], command) for n, command in enumerate(ring)))

    refusals = [answer for answer in answers if answer is not None]
    assert [refusal.reason for refusal in refusals] == ["ALIGNMENT_CLOSES_LOOP"]
    state, version = await executors[0].load(alignments, ORGANIZATION, alignments.stream(CYCLE))
    assert version == len(state.parents) == RING - 1
    top = {objective(each) for each in range(RING)} - set(state.parents)
    assert len(top) == 1


async def test_many_who_turn_an_objective_to_other_parents_leave_it_with_one(log: EventLog) -> None:
    executor = CommandExecutor(log)
    answers = await asyncio.gather(*(insist(executor, align(0, parent)) for parent in range(1, 17)))

    assert answers == [None] * 16
    state, version = await executor.load(alignments, ORGANIZATION, alignments.stream(CYCLE))
    assert version == 16
    facts = [event.data for event in await log.read_stream(ORGANIZATION, alignments.stream(CYCLE))]
    parents = [fact.parent_objective_id for fact in facts if isinstance(fact, Aligned)]
    assert [fact.previous_parent_id for fact in facts if isinstance(fact, Aligned)] == [None, *parents[:-1]]
    assert state.parents == {objective(0): parents[-1]}
