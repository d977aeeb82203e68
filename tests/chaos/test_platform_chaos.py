"""`okr up` under everything that may be killed, called over a network that fails; nothing promised is broken.

Writers check in through gRPC and send again whatever was not answered, with the same request id. The
platform, PostgreSQL's processes and the connections between are killed, ended or silenced meanwhile.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from grpc import StatusCode, aio

from okr.checkins.v1 import checkins_pb2
from okr.checkins.v1.checkins_pb2_grpc import CheckInsServiceStub
from okr_chassis.rpc.channels import connect
from okr_eventstore.model import Position
from tests.chaos.history import Answer, Held, History, Sent, disagreements, holes, read, remembered
from tests.chaos.run import Beat, Run
from tests.support.embedded import PATIENCE_SECONDS, Installation, installation
from tests.support.proxy import Proxy

pytestmark = pytest.mark.timeout(0)  # as long as asked; each step has a patience of its own
SECONDS = 25.0
"""The share within the ordinary tests."""
BARE = ("--no-samples",)
SHEET = Path(__file__).parents[2] / "examples" / "bakery" / "okrs.csv"
WHO = ("--organization", "Second Bakery", "--as", "Rosa Maia")
WRITERS = 12
BETWEEN = (10, 60)
"""How many acknowledgements lie between two faults, at least and at most."""
DEADLINE_SECONDS = 5.0
OVERTIME_SECONDS = 1.0
"""What a busy machine may add to a deadline."""
SERVICES = ("directory", "goals", "checkins", "alignment", "notifications")
LAWFUL = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.ABORTED, StatusCode.CANCELLED}
"""How a call may fail while things break: each of these invites to send it again."""
SAYS = "coalesce(data->>'check_in_id', type)"


async def test_nobody_who_was_answered_is_betrayed_whatever_is_killed(tmp_path: Path) -> None:
    run, beat = Run("platform", SECONDS), Beat()
    with run.told():
        async with installation(tmp_path / "data") as built, Proxy("127.0.0.1", built.port) as proxy:
            await built.start(*BARE)
            imported = await built.okr("import", str(SHEET), *WHO, "--json")
            assert imported.code == 0, imported.err
            token = (await built.okr("token", *WHO, "--json")).json["token"]
            board = (await built.okr("board", *WHO, "--json")).json
            key_results = [each["id"] for objective in board["objectives"] for each in objective["key_results"]]
            history = remembered(await read(dsn_of(built), "checkins", SAYS))
            told_before = len(history)

            writers = CheckInWriters(proxy, token, key_results, history, beat)
            faults = PlatformFaults(run, beat, proxy, built)
            writing = [asyncio.create_task(writers.write(run.choices(f"writer {n}"))) for n in range(WRITERS)]
            loop = asyncio.get_running_loop()
            end = loop.time() + run.seconds
            while loop.time() < end:
                striking = asyncio.create_task(faults.strike())
                await asyncio.wait((striking, *writing), return_when=asyncio.FIRST_COMPLETED)
                for task in writing:
                    if task.done():
                        task.result()
                await striking
            proxy.heal()
            writers.stop()
            await asyncio.gather(*writing)

            verified = await built.okr("verify", "--json")
            assert verified.code == 0, verified.err
            assert verified.json["equal"] is True
            assert (await built.okr("parked", "list", "--json")).json == {"streams": []}
            assert disagreements(history, belonging_to(history, await read(dsn_of(built), "checkins", SAYS))) == []
            for service in SERVICES:
                assert holes(await read(dsn_of(built), service, "type")) == [], service
            assert writers.refused.keys() <= LAWFUL, writers.refused
            assert writers.longest_seconds <= DEADLINE_SECONDS + OVERTIME_SECONDS
            assert await built.stop() == 0
            print(
                f"platform: {len(run.happened)} faults, {len(history) - told_before} check-ins,"
                f" {writers.refused.total()} unanswered calls sent again, longest {writers.longest_seconds:.2f} s"
                f", longest silence {beat.longest_silence_seconds:.1f} s"
            )
    assert run.happened, "a run without a fault proves nothing"


def dsn_of(built: Installation) -> str:
    """Where the platform's PostgreSQL listens now; after a start it may be elsewhere."""
    password = (built.data_dir / "postgres.password").read_text().strip()
    port = (built.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[3].strip()
    return f"postgresql://okr:{password}@127.0.0.1:{port}/postgres?sslmode=disable"


def belonging_to(history: History, held: Held) -> Held:
    """The platform's own commands may add events meanwhile; what they do is judged by their positions alone."""
    for command_id in {event.command_id for event in held.events} - history.keys():
        own = [event for event in held.events if event.command_id == command_id]
        if all(event.says != "CheckInRecorded" for event in own) and own[0].says.startswith("CheckIns"):
            history[command_id] = Sent(own[0].stream, tuple(event.says for event in own))
    return held


class CheckInWriters:
    """People who check in, and send again what was not answered until it is."""

    def __init__(self, proxy: Proxy, token: str, key_results: list[str], history: History, beat: Beat) -> None:
        self.refused: Counter[StatusCode] = Counter()
        self.longest_seconds = 0.0
        self._proxy = proxy
        self._token = token
        self._key_results = key_results
        self._history = history
        self._beat = beat
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def write(self, choices: random.Random) -> None:
        address = f"127.0.0.1:{self._proxy.port}"
        channel = connect(address, lambda: self._token, deadline_seconds=DEADLINE_SECONDS)
        stub = CheckInsServiceStub(channel)
        organization_id = next(iter(self._history.values())).stream[0]
        try:
            while not self._stopping:
                request_id, check_in_id = UUID(int=choices.getrandbits(128)), UUID(int=choices.getrandbits(128))
                key_result_id = choices.choice(self._key_results)
                request = checkins_pb2.RecordCheckInRequest(
                    request_id=str(request_id),
                    check_in_id=str(check_in_id),
                    key_result_id=key_result_id,
                    value=str(choices.randint(1, 100)),
                )
                sent = Sent((organization_id, f"checkin-{key_result_id}"), (str(check_in_id),))
                self._history[request_id] = sent
                for _ in range(1 if choices.random() < 0.9 else 2):  # some are sent again although answered
                    await self._carry_through(stub, request, sent)
        finally:
            await channel.close()

    async def _carry_through(
        self, stub: CheckInsServiceStub, request: checkins_pb2.RecordCheckInRequest, sent: Sent
    ) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                called = loop.time()
                try:
                    receipt = (await stub.RecordCheckIn(request)).receipt
                except aio.AioRpcError as error:
                    self.refused[error.code()] += 1
                    await asyncio.sleep(0)
                    continue
                finally:
                    self.longest_seconds = max(self.longest_seconds, loop.time() - called)
                sent.answers.append(Answer(receipt.version, Position.parse(receipt.position).position))
                self._beat.tick()
                return


class PlatformFaults:
    """Kills what runs and breaks what connects, in turn, and starts again what does not by itself."""

    def __init__(self, run: Run, beat: Beat, proxy: Proxy, built: Installation) -> None:
        self._run = run
        self._beat = beat
        self._proxy = proxy
        self._built = built
        self._choices = run.choices("faults")
        self._weighted: list[tuple[Callable[[], Awaitable[str]], int]] = [
            (self._kill_the_platform, 3),
            (self._kill_everything, 3),
            (self._ask_it_to_stop, 1),
            (self._end_a_backend, 3),
            (self._kill_a_backend, 2),
            (self._kill_the_postmaster, 3),
            (self._break_connections, 4),
            (self._silence_connections, 1),
        ]

    async def strike(self) -> None:
        await self._beat.reach(self._beat.count + self._choices.randint(*BETWEEN))
        self._proxy.heal()
        kinds, weights = zip(*self._weighted, strict=True)
        (fault,) = self._choices.choices(kinds, weights)
        self._run.note(await fault())

    async def _kill_the_platform(self) -> str:
        await self._built.kill(postgres=False)
        await self._built.start(*BARE)
        return "kill -9 of the platform"

    async def _kill_everything(self) -> str:
        await self._built.kill(postgres=True)
        await self._built.start(*BARE)
        return "kill -9 of everything"

    async def _ask_it_to_stop(self) -> str:
        assert await self._built.stop() == 0
        await self._built.start(*BARE)
        return "a stop in order"

    async def _end_a_backend(self) -> str:
        for pid in await self._backends():
            connection = await asyncpg.connect(dsn_of(self._built))
            await connection.fetch("SELECT pg_terminate_backend($1::int)", pid)
            await connection.close()
        return "a backend ended"

    async def _kill_a_backend(self) -> str:
        for pid in await self._backends():
            _kill(pid)
        return "kill -9 of a backend"

    async def _kill_the_postmaster(self) -> str:
        with suppress(OSError):
            _kill(int((self._built.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0]))
        return "kill -9 of the postmaster"

    async def _break_connections(self) -> str:
        kind = self._choices.choice(["cut", "reset", "lose answers", "slow", "refuse"])
        match kind:
            case "cut":
                self._proxy.cut()
            case "reset":
                self._proxy.reset()
            case "lose answers":
                self._proxy.lose_answers()
            case "slow":
                self._proxy.latency_seconds = 0.02
            case _:
                self._proxy.refuse(WRITERS)
                self._proxy.cut()
        return f"connections of callers: {kind}"

    async def _silence_connections(self) -> str:
        self._proxy.swallow()
        return "connections of callers: half-open"

    async def _backends(self) -> list[int]:
        """One that serves the platform, by pid; none while PostgreSQL recovers."""
        try:
            connection = await asyncpg.connect(dsn_of(self._built))
        except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError, IndexError):
            return []
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'okr %' ORDER BY pid"
        )
        await connection.close()
        return [self._choices.choice(rows)["pid"]] if rows else []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
