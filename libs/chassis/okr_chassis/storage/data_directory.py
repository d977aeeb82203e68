"""The directory a platform without external services lives in: claimed once, used by one process at a time."""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from okr_chassis.startup import StartupError

_MARKER = "okr-data-directory"
_HARMLESS = frozenset({"lost+found", ".gitkeep", ".gitignore"})
"""What volumes and repositories put into directories that are otherwise empty."""


class DataDirectoryError(StartupError):
    """The directory cannot be used: not ours, not writable, or broken."""


class DataDirectoryInUseError(DataDirectoryError):
    """Another live process works on this directory."""


def claim(path: Path) -> Path:
    """Make `path` ours, or see that it is already. Returns it resolved.

    A directory that holds anything and does not carry our marker belongs to somebody else: it is
    refused before a single file is written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        resolved = path.resolve()
        marker = resolved / _MARKER
        if not marker.exists():
            strangers = sorted({entry.name for entry in resolved.iterdir()} - _HARMLESS)
            if strangers:
                raise DataDirectoryError(
                    f"{resolved} is not a data directory of this platform (it holds {strangers[0]!r}); "
                    "set OKR_DATA_DIR to a new or empty directory"
                )
            marker.write_text("Data of an OKR platform. Keep this file: without it the directory is refused.\n")
    except OSError as error:
        raise DataDirectoryError(
            f"data directory {path} cannot be used: {error.strerror or error}; "
            "set OKR_DATA_DIR to a directory this user may write"
        ) from error
    return resolved


def write_secret(path: Path, secret: bytes) -> None:
    """Put a secret into a file only its owner can read; complete and durable, or not there at all."""
    unfinished = _unfinished(path, secret)
    unfinished.rename(path)
    sync_directory(path.parent)


def keep_secret(path: Path, make: Callable[[], bytes]) -> bytes:
    """The secret in a file, made by whoever comes first; two processes that start together agree on one."""
    try:
        if not path.exists():
            unfinished = _unfinished(path, make())
            with contextlib.suppress(FileExistsError):
                os.link(unfinished, path)
            unfinished.unlink()
            sync_directory(path.parent)
        return path.read_bytes()
    except OSError as error:
        raise DataDirectoryError(
            f"{path} cannot be used: {error.strerror or error}; restore it or let this user read it"
        ) from error


def _unfinished(path: Path, secret: bytes) -> Path:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return unfinished


def sync_directory(path: Path) -> None:
    """A rename survives a power cut only after its directory was synced."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DirectoryLock:
    """Held while a process works on a directory. The kernel lets go of it when the process dies, however it dies."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise DataDirectoryInUseError naming the process that has it."""
        try:
            descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataDirectoryError(
                f"data directory {self._directory} cannot be used: {error.strerror}; "
                "set OKR_DATA_DIR to a directory this user may write"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise DataDirectoryInUseError(
                f"{self._directory} is in use by the running process {holder}; "
                "stop it or set OKR_DATA_DIR to another directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "DirectoryLock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
