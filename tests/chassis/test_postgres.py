"""PostgreSQL of our own: what is acknowledged survives every kind of kill, and nobody else's data is touched."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import asyncpg
import pytest

from okr_chassis.startup import DurabilityError, StartupError
from okr_chassis.storage import postgres as driver
from okr_chassis.storage.data_directory import DataDirectoryError, DataDirectoryInUseError
from okr_chassis.storage.postgres import EmbeddedPostgres, PostgresStartError, check_durability

OWNER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from okr_chassis.storage.postgres import EmbeddedPostgres

    async def main():
        async with EmbeddedPostgres(Path(sys.argv[1])) as postgres:
            print(postgres.dsn, flush=True)
            await asyncio.Event().wait()

    asyncio.run(main())
    """
)
"""A platform's share in it: starts the server and stays."""


@pytest.fixture(scope="module")
async def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a table and one row in it, stopped in an orderly way; copied because initdb takes its time."""
    directory = tmp_path_factory.mktemp("template") / "data"
    async with EmbeddedPostgres(directory) as postgres:
        await run(postgres.dsn, "CREATE TABLE kept (id int)")
        await run(postgres.dsn, "INSERT INTO kept VALUES (1)")
    return directory


@pytest.fixture
def data_dir(template: Path, tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "data"
    shutil.copytree(template, directory)
    yield directory
    kill(driver._processes_in(directory / "postgres"))


@pytest.fixture
async def owner(data_dir: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Another process that runs a server on the directory."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(data_dir), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None, "it was asked for"
    dsn = (await process.stdout.readline()).decode().strip()
    yield process, dsn
    if process.returncode is None:
        process.kill()
        await process.wait()


async def run(dsn: str, sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # one that went with the others
            os.kill(pid, signal.SIGKILL)


def postmaster_of(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


async def kept(dsn: str) -> list[int]:
    return [row["id"] for row in await run(dsn, "SELECT id FROM kept ORDER BY id")]


async def test_it_starts_where_nothing_is_and_keeps_its_data_and_secrets(tmp_path: Path) -> None:
    directory, said = tmp_path / "new" / "data", list[str]()
    async with EmbeddedPostgres(directory, starting=said.append) as postgres:
        await run(postgres.dsn, "CREATE TABLE kept (id int)")
        connection = await asyncpg.connect(postgres.dsn)
        await check_durability(connection)
        await connection.close()
    assert [line.split()[0] for line in said] == ["creating", "starting"]
    assert directory.stat().st_mode & 0o077 == 0
    assert (directory / "postgres.password").stat().st_mode & 0o777 == 0o600
    async with EmbeddedPostgres(directory) as postgres:
        assert await kept(postgres.dsn) == []
    assert not driver._processes_in(directory / "postgres"), "an orderly stop leaves nothing behind"


async def test_nobody_gets_in_without_the_password(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as postgres:
        stranger = postgres.dsn.replace((data_dir / "postgres.password").read_text(), "guess")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(stranger)


async def test_a_killed_owner_leaves_a_server_that_is_adopted_as_it_stands(
    data_dir: Path, owner: tuple[asyncio.subprocess.Process, str]
) -> None:
    process, dsn = owner
    await run(dsn, "INSERT INTO kept VALUES (2)")
    before = postmaster_of(data_dir)
    os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    async with EmbeddedPostgres(data_dir) as postgres:
        assert postmaster_of(data_dir) == before, "adopted, not started anew"
        assert postgres.dsn == dsn
        assert await kept(dsn) == [1, 2]
    assert not driver._processes_in(data_dir / "postgres"), "an adopted server is stopped like any other"


@pytest.mark.parametrize("victims", ["postmaster", "postmaster and owner", "every process of the server"])
async def test_what_was_acknowledged_survives_a_kill_of_the_server(
    victims: str, data_dir: Path, owner: tuple[asyncio.subprocess.Process, str]
) -> None:
    process, dsn = owner
    connection = await asyncpg.connect(dsn)
    for number in range(2, 50):
        await connection.execute("INSERT INTO kept VALUES ($1)", number)
    everyone = driver._processes_in(data_dir / "postgres")
    kill(everyone if victims.startswith("every") else {postmaster_of(data_dir)})
    process.kill()
    await process.wait()
    async with EmbeddedPostgres(data_dir) as postgres:
        assert await kept(postgres.dsn) == list(range(1, 50))


async def test_a_server_that_dies_under_its_owner_is_started_again_where_it_was(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as postgres:
        await run(postgres.dsn, "INSERT INTO kept VALUES (2)")
        before, dsn = postmaster_of(data_dir), postgres.dsn
        kill(driver._processes_in(data_dir / "postgres"))
        await postgres.restarted.wait()
        assert postmaster_of(data_dir) != before
        assert await kept(dsn) == [1, 2]
    assert not driver._processes_in(data_dir / "postgres")


async def test_a_pid_file_that_names_an_unrelated_living_process_is_stale(data_dir: Path) -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as stranger:  # noqa: ASYNC220 - starts at once
        pid_file = data_dir / "postgres" / "postmaster.pid"
        pid_file.write_text(f"{stranger.pid}\n{data_dir / 'postgres'}\n1700000000\n5432\n\n127.0.0.1\n\nready\n")
        async with EmbeddedPostgres(data_dir) as postgres:
            assert postmaster_of(data_dir) != stranger.pid
            assert await kept(postgres.dsn) == [1]
        assert stranger.poll() is None, "the stranger was left alone"
        stranger.kill()


async def test_a_second_live_owner_is_refused_and_harms_nothing(
    data_dir: Path, owner: tuple[asyncio.subprocess.Process, str]
) -> None:
    process, dsn = owner
    with pytest.raises(DataDirectoryInUseError, match=rf"{data_dir}.*process {process.pid}.*OKR_DATA_DIR"):
        await EmbeddedPostgres(data_dir).start()
    assert await kept(dsn) == [1]


async def test_a_second_owner_in_the_same_process_is_refused_too(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir):
        with pytest.raises(DataDirectoryInUseError):
            await EmbeddedPostgres(data_dir).start()


@pytest.mark.parametrize("content", ["notes.txt", "PG_VERSION"])
async def test_a_directory_of_somebody_else_is_refused_untouched(content: str, tmp_path: Path) -> None:
    (tmp_path / content).write_text("mine")
    with pytest.raises(DataDirectoryError, match=f"{tmp_path}.*OKR_DATA_DIR"):
        await EmbeddedPostgres(tmp_path).start()
    assert os.listdir(tmp_path) == [content]  # noqa: PTH208 - one short look


async def test_a_cluster_of_somebody_else_inside_our_directory_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres" / "okr-cluster").unlink()
    with pytest.raises(DataDirectoryError, match="not made by this platform"):
        await EmbeddedPostgres(data_dir).start()


async def test_an_initdb_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    async with EmbeddedPostgres(directory):
        pass
    (directory / "postgres").rename(directory / "postgres.new")
    (directory / "postgres.new" / "PG_VERSION").unlink()
    async with EmbeddedPostgres(directory) as postgres:
        assert await run(postgres.dsn, "SELECT 1")


async def test_a_lost_password_is_named(data_dir: Path) -> None:
    (data_dir / "postgres.password").unlink()
    with pytest.raises(DataDirectoryError, match=r"postgres\.password"):
        await EmbeddedPostgres(data_dir).start()


async def test_a_server_that_cannot_start_says_why_in_one_line_and_lets_go(data_dir: Path) -> None:
    configuration = data_dir / "postgres" / "postgresql.conf"
    fine = configuration.read_text()
    configuration.write_text(fine + "\nshared_buffers = 'plenty'\n")
    with pytest.raises(PostgresStartError) as caught:
        await EmbeddedPostgres(data_dir).start()
    assert "\n" not in str(caught.value)
    assert "shared_buffers" in str(caught.value)
    configuration.write_text(fine)
    async with EmbeddedPostgres(data_dir) as postgres:
        assert await kept(postgres.dsn) == [1]


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
async def test_a_server_that_forgets_is_refused(setting: str, data_dir: Path) -> None:
    with (data_dir / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write(f"\n{setting} = off\n")
    with pytest.raises(DurabilityError, match=f"{setting}=off"):
        await EmbeddedPostgres(data_dir).start()
    assert not driver._processes_in(data_dir / "postgres"), "refused means stopped again"


async def test_without_binaries_the_way_out_is_told(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StartupError, match="DATABASE_URL"):
        await EmbeddedPostgres(data_dir).start()


async def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="OKR_DATA_DIR"):
        await EmbeddedPostgres(tmp_path / "file" / "data").start()


async def test_a_long_path_is_no_obstacle(template: Path, tmp_path: Path) -> None:
    directory = tmp_path / ("long " * 20) / ("path'$ " * 15) / "data"
    shutil.copytree(template, directory)
    async with EmbeddedPostgres(directory) as postgres:
        assert await kept(postgres.dsn) == [1]


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT CHECKED: only root can become another user")
async def test_an_ordinary_user_needs_no_help(template: Path, tmp_path: Path) -> None:
    """The same, as a user without any rights, in a directory of their own."""
    home = Path("/tmp") / f"okr-{os.getpid()}-user"
    shutil.copytree(template, home)
    try:
        for path in [home, *home.rglob("*")]:
            os.chown(path, 65534, 65534)
        script = OWNER.replace("await asyncio.Event().wait()", "pass")
        reachable = await asyncio.create_subprocess_exec(
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", script, str(home),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await reachable.communicate()
        if b"No module named" in err or b"can't open file" in err:
            pytest.skip("NOT CHECKED: an ordinary user cannot read this environment")
        assert reachable.returncode == 0, err.decode()
        assert out.startswith(b"postgresql://okr:")
    finally:
        shutil.rmtree(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT CHECKED: only root needs a system user")
async def test_where_user_namespaces_are_forbidden_a_system_user_runs_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "unshare" else which(name))
    reachable = Path("/tmp") / f"okr-{os.getpid()}-system"
    try:
        for _ in range(2):
            async with EmbeddedPostgres(reachable) as postgres:
                assert await run(postgres.dsn, "SELECT 1")
        assert (reachable / "postgres").stat().st_uid != 0
        monkeypatch.undo()
        with pytest.raises(DataDirectoryError, match="chown"):
            await EmbeddedPostgres(reachable).start()
    finally:
        shutil.rmtree(reachable)
    (tmp_path / "closed").mkdir(mode=0o700)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "unshare" else which(name))
    with pytest.raises(PostgresStartError, match="cannot reach"):
        await EmbeddedPostgres(tmp_path / "closed" / "data").start()


async def test_two_starts_never_collide_on_a_port(template: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(template, tmp_path / name)
    async with EmbeddedPostgres(tmp_path / "one") as one, EmbeddedPostgres(tmp_path / "two") as two:
        assert one.dsn != two.dsn
        assert await kept(one.dsn) == await kept(two.dsn) == [1]
        port = int(one.dsn.rsplit(":", 1)[1].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)):
            pass
