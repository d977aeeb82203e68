"""Where Kafka's classes come from: Java 17 or newer that is there already, and jars that Maven fetches once.

The jars lie in the user's cache, never in the work tree, so that a fresh clone finds them. Beside them lies an archive
of the classes a broker loads, in the form in which the virtual machine wants them: it halves the time of every start.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from okr_chassis.startup import StartupError

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
OLDEST_JAVA = 17
FETCH_SECONDS = 600

Say = Callable[[str], None]


class KafkaMissingError(StartupError):
    """This machine has not what a broker needs."""


class Installation(NamedTuple):
    """What a broker is started from."""

    java: Path
    java_version: str
    """What it says of itself; archives of classes belong to exactly one."""
    home: Path
    """Everything fetched or made for this version of Kafka."""

    @property
    def jars(self) -> Path:
        return self.home / "lib"

    @property
    def archive(self) -> Path:
        return self.home / f"classes-{hashlib.sha256(self.java_version.encode()).hexdigest()[:12]}.jsa"


@lru_cache(maxsize=1)
def version() -> str:
    """Which Kafka."""
    found = ElementTree.parse(POM).findtext(".//{*}properties/{*}kafka.version")
    assert found, f"{POM} names no kafka.version"
    return found


def install(say: Say = lambda line: None) -> Installation:
    """Find Java, fetch the jars unless they lie in the cache. `say` is told what takes long.

    Any number of processes may ask at once: one fetches, the others wait. Raises KafkaMissingError.
    """
    named = os.environ.get("JAVA_HOME")
    java, java_version = _java(str(Path(named) / "bin" / "java") if named else shutil.which("java"))
    home = cache() / version()
    home.mkdir(parents=True, exist_ok=True)
    installation = Installation(java, java_version, home)
    with alone(home):
        if not _fetched(installation):
            _fetch(installation, say)
    return installation


def cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "okr-platform" / "kafka"


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Nobody else changes the cache meanwhile. The kernel ends it with the process, however that dies."""
    with (home / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@lru_cache(maxsize=1)
def _java(found: str | None) -> tuple[Path, str]:
    wanted = f"a Kafka broker needs Java {OLDEST_JAVA} or newer"
    remedy = "install one (openjdk-17-jre-headless, brew install openjdk) or name it with JAVA_HOME"
    if found is None:
        raise KafkaMissingError(f"{wanted}, and there is none; {remedy}")
    try:
        # Java tells its version on stderr.
        told = subprocess.run([found, "-version"], capture_output=True, text=True, check=True, timeout=60).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise KafkaMissingError(f"{wanted}, and {found} does not run ({error}); {remedy}") from error
    number = re.search(r'version "(\d+)', told)
    if number is None or int(number[1]) < OLDEST_JAVA:
        raise KafkaMissingError(f"{wanted}, and {found} is {told.splitlines()[0].strip()}; {remedy}")
    return Path(found), told


def _fetched(installation: Installation) -> bool:
    """Whether the jars are those of our pom. Its copy is written last."""
    try:
        return (installation.home / "pom.xml").read_bytes() == POM.read_bytes()
    except FileNotFoundError:
        return False


def _fetch(installation: Installation, say: Say) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaMissingError(
            f"Kafka {version()} is not in {installation.home} and Maven, which fetches it once, is not installed; "
            "install it (apt-get install maven, brew install maven)"
        )
    say(f"fetching Kafka {version()} by Maven into {installation.home} (about 45 MB, once)")
    with tempfile.TemporaryDirectory(dir=installation.home, prefix="fetching-") as unfinished:
        lib = Path(unfinished) / "lib"
        command = [maven, "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={lib}"]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=FETCH_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise KafkaMissingError(f"Maven cannot fetch Kafka {version()}: {_why(error)}") from error
        for stale in (installation.jars, *installation.home.glob("*.jsa")):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)
        lib.rename(installation.jars)
        shutil.copy(POM, installation.home / "pom.xml")


def _why(error: Exception) -> str:
    told = str(getattr(error, "stdout", None) or "")
    lines = [line for line in told.splitlines() if line.startswith("[ERROR]")]
    return lines[0].removeprefix("[ERROR]").strip() if lines else str(error)
