"""The log against a model of it: appends, races, resends, crashes and restarts in any order hypothesis thinks of."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from okr_eventstore.database import Database
from okr_eventstore.errors import CommandIdReusedError, ConflictError, StoreUnavailableError
from okr_eventstore.log import EventLog
from okr_eventstore.migrate import LOG_MIGRATIONS, migrate
from okr_eventstore.model import Done, shard_of
from tests.conftest import drop_schema
from tests.support.shop import MINT, Added, added, codec, context

STREAMS = ("counter-1", "counter-2", "counter-3")
EXAMPLES = 25
STEPS = 25

Answer = TypeVar("Answer")
stream_ids = st.sampled_from(STREAMS)
amounts = st.lists(st.integers(1, 9), max_size=3)


class Command(NamedTuple):
    """A command that was answered, as its caller remembers it."""

    command_id: UUID
    stream_id: str
    expected: int
    amounts: tuple[int, ...]
    version: int
    position: int


class LogMachine(RuleBasedStateMachine):
    """Two logs as of two processes on one side, a dictionary of lists on the other."""

    dsn = ""
    finished = Bundle("finished")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.schema = f"machine_{uuid4().hex}"
        self.streams: dict[str, list[int]] = {stream_id: [] for stream_id in STREAMS}
        self.order: list[tuple[str, int]] = []
        self.logs: list[EventLog] = []
        self.database = self.run(self.open())

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        async def in_time() -> Answer:
            async with asyncio.timeout(30):
                return await work

        return self.loop.run(in_time())

    async def open(self) -> Database:
        database = await Database.open(self.dsn, self.schema)
        await migrate(database, LOG_MIGRATIONS)
        for _ in range(2):
            log = EventLog("shop", database, codec())
            await log.start()
            self.logs.append(log)
        return database

    def teardown(self) -> None:
        async def end() -> None:
            for log in self.logs:
                await log.close()
            await self.database.close()
            await drop_schema(self.dsn, self.schema)

        self.run(end())
        self.loop.close()

    def applied(self, stream_id: str, amounts: tuple[int, ...], done: Done) -> None:
        """Do to the model what the log said it did, and compare the two answers."""
        self.streams[stream_id] += amounts
        self.order += [(stream_id, amount) for amount in amounts]
        assert not done.duplicate
        assert done.version == len(self.streams[stream_id])
        assert done.position.position == len(self.order)

    # --- what callers do -------------------------------------------------------------------------

    @rule(target=finished, stream_id=stream_ids, amounts=amounts, log=st.integers(0, 1))
    def append(self, stream_id: str, amounts: list[int], log: int) -> Command:
        command_id, expected = uuid4(), len(self.streams[stream_id])
        done = self.run(
            self.logs[log].append(stream_id, expected, added(*amounts), context(command_id=command_id), reply=b"kept")
        )
        self.applied(stream_id, tuple(amounts), done)
        return Command(command_id, stream_id, expected, tuple(amounts), done.version, done.position.position)

    @rule(stream_id=stream_ids, off_by=st.integers(1, 3), log=st.integers(0, 1))
    def append_to_a_version_that_is_not_there(self, stream_id: str, off_by: int, log: int) -> None:
        actual = len(self.streams[stream_id])
        with pytest.raises(ConflictError) as raised:
            self.run(self.logs[log].append(stream_id, actual + off_by, added(1), context()))
        assert (raised.value.expected, raised.value.actual) == (actual + off_by, actual)

    @rule(stream_id=stream_ids, racers=st.integers(2, 8))
    def race_for_one_version(self, stream_id: str, racers: int) -> None:
        expected = len(self.streams[stream_id])

        async def race() -> list[Done | BaseException]:
            return await asyncio.gather(
                *(self.logs[n % 2].append(stream_id, expected, added(n), context()) for n in range(racers)),
                return_exceptions=True,
            )

        answers = self.run(race())
        winners = [(n, answer) for n, answer in enumerate(answers) if isinstance(answer, Done)]
        assert len(winners) == 1, answers
        assert all(isinstance(answer, Done | ConflictError) for answer in answers), answers
        ((number, done),) = winners
        self.applied(stream_id, (number,), done)

    @rule(command=finished, log=st.integers(0, 1), times=st.integers(1, 3))
    def send_again(self, command: Command, log: int, times: int) -> None:
        again = context(command_id=command.command_id)

        async def resend() -> list[Done]:
            sent = [
                self.logs[(log + n) % 2].append(command.stream_id, command.expected, added(*command.amounts), again)
                for n in range(times)
            ]
            return await asyncio.gather(*sent)

        for done in self.run(resend()):
            assert done.duplicate
            assert (done.version, done.position.position) == (command.version, command.position)
            assert done.reply == b"kept"

    @rule(command=finished, log=st.integers(0, 1))
    def take_a_used_id_for_another_body(self, command: Command, log: int) -> None:
        other = context(command_id=command.command_id, body="other")
        with pytest.raises(CommandIdReusedError):
            self.run(self.logs[log].append(command.stream_id, command.version, added(1), other))

    @rule(stream_id=stream_ids, amount=st.integers(1, 9), yields=st.integers(0, 12))
    def give_up_waiting_and_send_again(self, stream_id: str, amount: int, yields: int) -> None:
        """A caller whose patience ends at any moment, and who asks another process the second time."""
        expected, same = len(self.streams[stream_id]), context()

        async def waver() -> Done:
            first = asyncio.create_task(self.logs[0].append(stream_id, expected, added(amount), same))
            for _ in range(yields):
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            return await self.logs[1].append(stream_id, expected, added(amount), same)

        self.applied(stream_id, (amount,), self.run(waver())._replace(duplicate=False))

    # --- what happens to them --------------------------------------------------------------------

    @rule(stream_id=stream_ids, amount=st.integers(1, 9), yields=st.integers(0, 12))
    def crash_in_mid_append(self, stream_id: str, amount: int, yields: int) -> None:
        """Every backend of the schema ends at some moment of an append; the appender finds out what became of it."""
        expected = len(self.streams[stream_id])

        async def crash() -> Done:
            appending = asyncio.create_task(self.logs[0].append(stream_id, expected, added(amount), context()))
            for _ in range(yields):
                await asyncio.sleep(0)
            await end_backends(self.dsn, self.schema)
            return await appending

        self.applied(stream_id, (amount,), self.run(crash())._replace(duplicate=False))

    @rule(log=st.integers(0, 1))
    def restart(self, log: int) -> None:
        async def again() -> EventLog:
            await self.logs[log].close()
            fresh = EventLog("shop", self.database, codec())
            await fresh.start()
            return fresh

        self.logs[log] = self.run(again())

    # --- what must be so at all times ------------------------------------------------------------

    @invariant()
    def the_log_is_what_the_model_says(self) -> None:
        async def read() -> None:
            events = await patiently(lambda: self.logs[0].read_shard(shard_of(MINT)))
            assert [event.position for event in events] == list(range(1, len(self.order) + 1))
            assert [(event.stream_id, amount_of(event.data)) for event in events] == self.order
            for stream_id, expected in self.streams.items():
                stream = await patiently(lambda stream_id=stream_id: self.logs[1].read_stream(MINT, stream_id))
                assert [event.version for event in stream] == list(range(1, len(expected) + 1))
                assert [amount_of(event.data) for event in stream] == expected

        self.run(read())


def amount_of(data: object) -> int:
    assert isinstance(data, Added)
    return data.amount


async def patiently(question: Any) -> Any:
    """Ask again where a connection of the pool was among the dead."""
    while True:
        try:
            return await question()
        except StoreUnavailableError:
            continue


async def end_backends(dsn: str, schema: str) -> None:
    database = await Database.open(dsn, "public")
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", f"okr {schema}"
    )
    await database.close()


def test_the_log_behaves_as_its_model_whatever_happens(postgres_dsn: str) -> None:
    class Machine(LogMachine):
        dsn = postgres_dsn

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
