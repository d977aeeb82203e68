"""One Kafka broker on the loopback, in a Java virtual machine of its own.

async with LocalBroker(directory) as broker:
    AIOKafkaProducer(bootstrap_servers=broker.bootstrap)

It keeps its topics in the directory from one start to the next, and can be treated as badly as machines treat
brokers: killed, or stopped in the middle of everything.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import random
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from types import TracebackType

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from okr_chassis.startup import StartupError
from okr_chassis.storage.data_directory import DirectoryLock
from tools.kafka.installation import HERE, Installation, Say, alone, install

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
SETTINGS = Template((HERE / "server.properties").read_text())
CLUSTER_ID = "86lcP-CcRqyXm7WFaZ-Ghg"
"""16 bytes in base64url. Every broker here is a cluster of its own, so that one id does for all."""
START_SECONDS = 90.0
STOP_SECONDS = 30.0
"""How long an orderly stop may take before it becomes a kill."""
_POLL_SECONDS = 0.05
_PORTS = range(20000, 32000)
"""Below those the kernel gives to outgoing connections. While a broker is down one of those could take its place,
or even, connecting to it, be given its port and talk to itself."""

_QUICK = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For tests: there soon, small, and slower under a load that lasts."""
_STEADY = ("-Xms256m", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
"""For measuring: what a broker in production runs with, on a small heap."""
_ALWAYS = (
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
)


class KafkaStartError(StartupError):
    """The broker does not start, or does not answer."""


class BrokerPortError(KafkaStartError):
    """Another process listens where the broker would."""


def port_number(text: str) -> int:
    """Where a broker can listen: the port behind it is its controller's."""
    if not (text.isdigit() and 0 < int(text) < 65535):
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65534, found {text!r}")
    return int(text)


class LocalBroker:
    """A broker on `directory`. Without a `port` it takes a free one, and keeps it however often it starts.

    `steady` is for loads that last. `say` is told, in one line each, what takes long enough for a person to wonder.
    """

    def __init__(
        self, directory: Path, port: int | None = None, *, steady: bool = False, say: Say | None = None
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._controller_port = port + 1 if port else free_port()
        self._flags = (*(_STEADY if steady else _QUICK), *_ALWAYS)
        self._say = say or log.debug
        self._process: asyncio.subprocess.Process | None = None
        self._lock: DirectoryLock | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients find it."""
        return f"{HOST}:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.directory / "kafka.log"

    @property
    def pid(self) -> int | None:
        """Of the virtual machine; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def __aenter__(self) -> "LocalBroker":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start, and wait until clients are served. What was written before is there again."""
        if self.running:
            raise RuntimeError(f"the broker at {self.bootstrap} runs already")
        for port in (self.port, self._controller_port):
            if not _is_free(port):
                raise BrokerPortError(
                    f"{HOST}:{port} is in use by another process; stop it or choose another port with KAFKA_PORT"
                )
        installation = await prepare(self._say)
        await self._launch(installation, f"-XX:SharedArchiveFile={installation.archive}")

    async def stop(self) -> None:
        """An orderly stop; also of a broker that is paused, or has stopped by itself."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                log.warning("Kafka at %s did not stop within %.0f s and was killed", self.bootstrap, STOP_SECONDS)
                await self.kill()
        self._gone()

    async def restart(self) -> None:
        """Stop in an orderly way and start again, on the same port and data."""
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._gone()

    def pause(self) -> None:
        """SIGSTOP: connections stay, and from here on nobody answers."""
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        # The last of its threads may still be at work when the signal is sent; this returns when all have stopped.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    async def wait(self) -> None:
        """Until the broker ends, by whosever will."""
        if self._process is not None:
            await self._process.wait()

    def told(self) -> str:
        """The last line it said, without where in its code it said so."""
        said = self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []
        return next((line for line in reversed(said) if not line.startswith("\tat ")), "nothing")

    def _gone(self) -> None:
        self._process = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _signal(self, which: signal.Signals) -> None:
        if self._process is None or self._process.returncode is not None:
            raise RuntimeError(f"the broker at {self.bootstrap} does not run")
        self._process.send_signal(which)

    async def _launch(self, installation: Installation, *flags: str) -> None:
        await asyncio.to_thread(self.directory.mkdir, parents=True, exist_ok=True)
        # Kafka notices a second broker on its data as well, and by then has ruined the first one's.
        lock = DirectoryLock(self.directory)
        lock.acquire()
        self._lock = lock
        try:
            await self._serve([str(installation.java), *self._flags, *flags, "-cp", f"{installation.jars}/*"])
        except TimeoutError:
            await self.kill()
            raise KafkaStartError(
                f"Kafka does not serve at {self.bootstrap} after {START_SECONDS:.0f} s; its log is {self.log_path}"
            ) from None
        except BaseException:
            await self.kill()
            raise

    async def _serve(self, java: Sequence[str]) -> None:
        logs = self.directory / "logs"
        properties = self.directory / "server.properties"
        properties.write_text(
            SETTINGS.substitute(port=self.port, controller_port=self._controller_port, logs=logs.resolve())
        )
        formatted = (logs / "meta.properties").exists()
        if not formatted and await (await self._run(*java, *_FORMAT, str(properties))).wait() != 0:
            raise KafkaStartError(
                f"Kafka cannot prepare {logs} and said last: {self.told()}; its log is {self.log_path}"
            )
        self._process = await self._run(*java, "kafka.Kafka", str(properties))
        await serving(self.bootstrap, START_SECONDS, ended=lambda: not self.running)
        if not self.running:
            raise KafkaStartError(
                f"Kafka ended while it started and said last: {self.told()}; its log is {self.log_path}"
            )

    async def _run(self, *command: str) -> asyncio.subprocess.Process:
        """A process that Ctrl-C in our terminal does not reach, and that does not outlive us where the system helps."""
        tied = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
        with self.log_path.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *tied, *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )


async def prepare(say: Say) -> Installation:
    """Everything a broker is started from, fetched and made ready unless it lies in the cache."""
    installation = await asyncio.to_thread(install, say)
    await _archive_classes(installation, say)
    return installation


async def serving(bootstrap: str, seconds: float, ended: Callable[[], bool] = lambda: False) -> None:
    """Wait until a broker answers there. Raises TimeoutError; leaves at once when it has `ended`."""
    host, _, port = bootstrap.rpartition(":")
    async with asyncio.timeout(seconds):
        while not ended():
            # Clients complain in the log about a port where nobody listens yet.
            if await asyncio.to_thread(_listens, host, int(port)) and await _answers(bootstrap):
                return
            await asyncio.sleep(_POLL_SECONDS)


async def _answers(bootstrap: str) -> bool:
    """Whether the broker there answers, and has told its controller that it does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        await admin.close()


_FORMAT = ("kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config")


async def _archive_classes(installation: Installation, say: Say) -> None:
    """Let one broker tell which classes it loads, once for all later ones. Without, they start too, only later."""
    if installation.archive.exists():
        return
    with alone(installation.home), tempfile.TemporaryDirectory(prefix="okr-kafka-") as directory:
        if installation.archive.exists():
            return
        say("preparing Kafka for faster starts (once)")
        unfinished = installation.archive.with_suffix(f".{os.getpid()}.new")
        broker = LocalBroker(Path(directory))
        try:
            await broker._launch(installation, f"-XX:ArchiveClassesAtExit={unfinished}")
            await broker.stop()
            unfinished.rename(installation.archive)
        except (KafkaStartError, OSError) as error:
            log.warning("Kafka starts without an archive of its classes: %s", error)
        finally:
            await broker.kill()
            unfinished.unlink(missing_ok=True)


def free_port() -> int:
    """A port nobody listens on and no outgoing connection is given."""
    return next(port for port in random.sample(_PORTS, len(_PORTS)) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what a former listener left in TIME_WAIT is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
