"""`make cluster` as a person uses it: up, reached by the line it prints, and down in order by Ctrl-C."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.kafka import Topics

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 90.0


@asynccontextmanager
async def cluster(data_dir: Path, topics: Topics) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """What the target runs, on ports and topics nobody else has; with the lines it has printed when it is ready."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OKR_", "DATABASE_URL"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tools.cluster", "--port", "0", "--no-samples"),
        cwd=ROOT,
        env={
            **kept,
            "OKR_DATA_DIR": str(data_dir),
            "OKR_KAFKA": topics.bootstrap,
            "OKR_KAFKA_PREFIX": topics.prefix,
        },
        start_new_session=True,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    lines: list[str] = []
    assert process.stdout is not None, "it was asked for"
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line := (await process.stdout.readline()).decode():
                lines.append(line.strip())
                if line.strip().endswith("events tail --service checkins"):
                    break
            else:
                raise AssertionError("\n".join(lines))
        yield process, lines
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGINT)
            await process.communicate()


@pytest.mark.timeout(240)
async def test_the_line_it_prints_lets_okr_find_every_service(tmp_path: Path, topics: Topics) -> None:
    async with cluster(tmp_path / "data", topics) as (process, lines):
        (export,) = [line for line in lines if line.startswith("export OKR_PEERS=")]
        okr = Path(sys.executable).with_name("okr")
        who = '--organization "Corner Bakery"'
        script = f"""{export}
            {okr} import {ROOT}/examples/bakery/okrs.csv {who} --as "Rosa Maia" &&
            {okr} board {who} --as rosa.maia && {okr} verify"""
        shell = await asyncio.create_subprocess_exec(
            "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said = (await shell.communicate())[0].decode()
        assert shell.returncode == 0, said
        assert "Corner Bakery" in said
        assert "Equal:" in said

        os.killpg(process.pid, signal.SIGINT)
        last = (await process.communicate())[0].decode()
    assert process.returncode == 0, last
    assert "Stopping: services first, then Kafka and PostgreSQL." in last
    assert "ended by an error" not in last
