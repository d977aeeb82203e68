"""`make cluster`: PostgreSQL, Kafka and every service as processes of their own, until Ctrl-C.

Ctrl-C stops them in order: the services, which finish what they are at, then Kafka, then PostgreSQL.
"""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.text import Text

from okr_chassis.kafka.topics import provision
from okr_chassis.settings import Settings
from okr_chassis.startup import StartupError
from okr_chassis.stopping import until_asked
from okr_chassis.storage.data_directory import claim
from okr_chassis.storage.postgres import EmbeddedPostgres
from okr_chassis.storage.roles import keep_passwords, provision_roles
from okr_cli.client import SERVICES
from okr_cli.output import Output
from okr_cli.story import stories
from okr_cli.up import tell
from okr_contracts.registry import EVENTS
from tools.cluster.cluster import Cluster, Place, places
from tools.kafka.broker import BrokerPortError, LocalBroker, port_number

FIRST_PORT = 7401
KAFKA_PORT = 19092
AGAIN_SECONDS = 1.0
"""Before another attempt to start a broker that does not start."""
COLORS = ("cyan", "green", "yellow", "magenta", "blue", "bright_red")
_BIN = Path(sys.executable).parent


class Terminal:
    """Every line says whose it is."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)

    def line(self, name: str, text: str) -> None:
        style = COLORS[SERVICES.index(name.rpartition("-")[0])] if "-" in name else "dim"
        self._console.print(Text.assemble((f"{name:<16} │ ", style), Text.from_ansi(text)))

    def say(self, text: str) -> None:
        self._console.print(text, style="bold")


async def serve(settings: Settings, options: argparse.Namespace, asked: asyncio.Event, serves: asyncio.Event) -> None:
    terminal = Terminal()
    async with AsyncExitStack() as stack:
        dsn = settings.database_url
        if dsn is None:
            say = lambda step: terminal.line("postgresql", step)  # noqa: E731 - one line for one line
            dsn = (await stack.enter_async_context(EmbeddedPostgres(settings.data_dir, starting=say))).dsn
        bootstrap = ",".join(settings.kafka)
        if not bootstrap:
            directory = claim(settings.data_dir) / "kafka"
            broker = LocalBroker(directory, options.kafka_port, say=lambda step: terminal.line("kafka", step))
            bootstrap = await _started(broker, stack)
            kept = asyncio.create_task(_keep(broker, terminal), name="keep Kafka")
            stack.push_async_callback(_end, kept)
        terminal.line("kafka", f"answers at {bootstrap}")
        if options.samples:
            await tell(settings, dsn, stories(), Output(as_json=False))
        urls = await provision_roles(dsn, keep_passwords(claim(settings.data_dir) / "roles", SERVICES))
        await provision(
            bootstrap.split(","),
            EVENTS,
            partitions=settings.kafka_partitions,
            replication=settings.kafka_replication,
            prefix=settings.kafka_prefix,
        )
        at = places(options.copies, options.port or None)
        cluster = await stack.enter_async_context(
            Cluster(settings.data_dir.resolve(), urls, bootstrap, at, settings=_passed_on(), line=terminal.line)
        )
        if options.samples:
            board = await asyncio.create_subprocess_exec(_BIN / "okr", "board", env=cluster.environment)
            await board.wait()
        _greet(terminal, cluster, at, bootstrap)
        serves.set()
        keeping = asyncio.create_task(cluster.keep(), name="keep services")
        stopping = asyncio.create_task(asked.wait())
        await asyncio.wait((keeping, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if keeping.done() and not asked.is_set():
            raise _first(keeping.exception())
        await _end(keeping)
        terminal.say("Stopping: services first, then Kafka and PostgreSQL. The data stay.")


async def _started(broker: LocalBroker, stack: AsyncExitStack) -> str:
    try:
        return (await stack.enter_async_context(broker)).bootstrap
    except BrokerPortError as error:
        raise BrokerPortError(
            f"{error}; with OKR_KAFKA={broker.bootstrap} the broker that runs there is used"
        ) from None


async def _keep(broker: LocalBroker, terminal: Terminal) -> None:
    """Start the broker again whenever it is gone, as PostgreSQL is."""
    while True:
        await broker.wait()
        terminal.line("kafka", f"has ended by itself and is started again; it said last: {broker.told()}")
        try:
            await broker.restart()
        except StartupError as error:
            terminal.line("kafka", str(error))
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            terminal.line("kafka", f"answers at {broker.bootstrap} again")


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _first(error: BaseException | None) -> BaseException:
    """What a group of tasks failed with first: that of the others followed."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert error is not None, "what keeps services running ends by an error alone"
    return error


def _passed_on() -> Mapping[str, str]:
    """What whoever starts the cluster has said for all services."""
    wanted = ("OKR_LOG_LEVEL", "OKR_KAFKA_PREFIX", "OKR_KAFKA_PARTITIONS", "OKR_KAFKA_SESSION_SECONDS", "OKR_ENV")
    return {name: os.environ[name] for name in wanted if name in os.environ}


def _greet(terminal: Terminal, cluster: Cluster, at: list[Place], bootstrap: str) -> None:
    terminal.say("")
    for place in at:
        terminal.line(place.name, f"{place.address}, metrics and health at {place.metrics_port}")
    terminal.say(f"Ready, over Kafka at {bootstrap}. Ctrl-C stops everything in order. In another terminal:")
    variables = [f"OKR_PEERS='{cluster.environment['OKR_PEERS']}'", f"OKR_DATA_DIR={cluster.data_dir}"]
    terminal.say(f"  export {' '.join(variables)}")
    for line in ('check-in "onboarding tickets" 12.9 --as tomas', "doctor", "verify", "events tail --service checkins"):
        terminal.say(f"  {_BIN / 'okr'} {line}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("--copies", type=int, default=1, help="how many processes of each service (default 1)")
    parser.add_argument("--port", type=int, default=FIRST_PORT, help="of the first service; 0 takes free ones")
    parser.add_argument("--kafka-port", type=port_number, default=KAFKA_PORT, help="of a broker of our own")
    parser.add_argument("--no-samples", dest="samples", action="store_false", help="tell no sample stories")
    options = parser.parse_args()
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())

    async def run() -> None:
        settings = Settings.load()
        await until_asked(lambda asked, serves: serve(settings, options, asked, serves))

    try:
        asyncio.run(run())
    except StartupError as error:
        print(error, file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
