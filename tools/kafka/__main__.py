"""`make kafka`: a broker for a person, until Ctrl-C."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from okr_chassis.settings import Settings
from okr_chassis.startup import StartupError
from okr_chassis.storage.data_directory import claim
from tools.kafka.broker import LocalBroker, port_number, prepare
from tools.kafka.installation import version

PORT = 19092


async def serve(directory: Path, port: int) -> int:
    """Run a broker on the directory until it ends or we are asked to stop it. Returns how we end."""
    broker = LocalBroker(directory, port, steady=True, say=_say)
    ourselves = asyncio.current_task()
    assert ourselves is not None
    for which in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(which, ourselves.cancel)
    try:
        await broker.start()
        _say(_WELCOME.format(version=version(), bootstrap=broker.bootstrap, directory=directory))
        await broker.wait()
        _say(f"Kafka has ended by itself and said last: {broker.told()}; its log is {broker.log_path}")
        return 1
    except asyncio.CancelledError:
        _say("Stopping Kafka; its data stay.")
        return 0
    finally:
        await broker.stop()


_WELCOME = """Kafka {version} listens at {bootstrap} and keeps its data and its log in {directory}.

    export OKR_KAFKA={bootstrap}
    okr kafka provision          makes the topics, once

Ctrl-C stops it."""


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make kafka", description=__doc__)
    parser.add_argument("--port", type=port_number, default=PORT, help=f"where clients come in (default {PORT})")
    parser.add_argument("--fetch", action="store_true", help="fetch and prepare what a broker needs, and start none")
    asked = parser.parse_args()
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        if asked.fetch:
            asyncio.run(prepare(_say))
            return 0
        directory = claim(Settings.load().data_dir) / "kafka"
        return asyncio.run(serve(directory, asked.port))
    except StartupError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
