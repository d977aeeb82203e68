"""The compose file without containers: its commands, settings, order and health checks, on what is real besides."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from okr_chassis.storage.postgres import EmbeddedPostgres
from tests.deploy.compose import SERVICES, read_compose
from tests.deploy.processes import Composition
from tests.support.kafka import Topics

pytestmark = pytest.mark.timeout(600)
PASSWORD = "chosen"


@pytest.fixture(scope="module")
async def composition(tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str) -> AsyncIterator[Composition]:
    home: Path = tmp_path_factory.mktemp("compose")
    topics = Topics(kafka_bootstrap)
    async with EmbeddedPostgres(home / "postgres") as postgres:
        connection = await asyncpg.connect(postgres.dsn)
        # As the image of PostgreSQL is told to by its variables.
        await connection.execute(f"CREATE ROLE postgres SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        await connection.execute("CREATE DATABASE okr OWNER postgres")
        await connection.close()
        address = urlsplit(postgres.dsn)
        containers = read_compose(OKR_DATABASE_PASSWORD=PASSWORD, OKR_KAFKA_PREFIX=topics.prefix)["services"]
        hosts = {"postgres": f"{address.hostname}:{address.port}", "kafka": kafka_bootstrap}
        composition = Composition(containers, home, hosts, profiles=["samples"])
        try:
            yield composition
        finally:
            await composition.kill()
            await topics.delete()


async def test_every_service_becomes_healthy_in_the_order_of_the_file(composition: Composition) -> None:
    await asyncio.gather(*(composition.up(service) for service in SERVICES))
    await asyncio.gather(*(composition.healthy(service) for service in SERVICES))


async def test_the_command_beside_the_services_shows_the_samples_and_their_history(composition: Composition) -> None:
    for words in (("board",), ("board", "--as-of", "4 weeks ago")):
        code, told = await composition.run("okr", *words)
        assert code == 0, told
        assert "Brightwater Software" in told
        assert "Net revenue retention" in told


async def test_a_check_in_is_told_to_the_other_services_over_kafka(composition: Composition) -> None:
    code, told = await composition.run("okr", "check-in", "onboarding tickets", "12.9", "--as", "tomas")
    assert code == 0, told
    async with asyncio.timeout(60):
        while "12.9" not in (await composition.run("okr", "history", "onboarding tickets"))[1]:
            pass  # asking takes long enough


async def test_no_service_can_reach_anothers_tables(composition: Composition) -> None:
    connection = await asyncpg.connect(composition.settings("checkins")["DATABASE_URL"])
    try:
        assert await connection.fetchval("SELECT count(*) FROM checkins.event") > 0
        for forbidden in ("SELECT count(*) FROM goals.event", "CREATE TABLE goals.mine ()", "CREATE SCHEMA mine"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()


async def test_what_runs_once_may_run_again(composition: Composition) -> None:
    for once in ("keys", "samples", "database", "topics"):
        code, told = await composition.run(once)
        assert code == 0, told
        assert PASSWORD not in told


async def test_asked_to_stop_every_service_finishes_and_leaves_in_good_order(composition: Composition) -> None:
    ended = await composition.stop()
    assert {service: ended[service] for service in SERVICES} == dict.fromkeys(SERVICES, 0)
