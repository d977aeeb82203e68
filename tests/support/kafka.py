"""A real Kafka for the tests: the one given, a container, or a broker of our own, whichever the machine offers first.

Nothing stands in for it. Where there is none, the tests that need it are skipped and the run ends by saying so;
with REQUIRE_KAFKA=1 they fail.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from okr_chassis.kafka.topics import Provisioned, provision, topic_of
from tools.kafka.broker import SETTINGS, LocalBroker, free_port, serving
from tools.kafka.installation import KafkaMissingError, install, version

__all__ = ["LocalBroker", "Topics", "broker_for_everybody", "broker_of_ones_own"]

CONTAINER_SECONDS = 120.0
GONE_SECONDS = 30.0


class Topics:
    """Topics of one test, on a broker it shares with others. All begin with a prefix nobody else has."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.prefix = f"test-{uuid4().hex[:12]}"

    @property
    def servers(self) -> list[str]:
        return self.bootstrap.split(",")

    def of(self, service: str) -> str:
        return topic_of(service, self.prefix)

    def group(self, name: str) -> str:
        """A consumer group nobody else has."""
        return f"{self.prefix}.{name}"

    async def provision(self, *services: str, partitions: int = 8) -> list[Provisioned]:
        return await provision(self.servers, services, partitions=partitions, prefix=self.prefix)

    async def create(self, *topics: Any) -> None:
        """Topics as `provision` would never make them."""
        async with self.admin() as admin:
            answer = await admin.create_topics(list(topics))
            assert all(code == 0 for _, code, _ in answer.topic_errors), answer

    async def names(self) -> set[str]:
        """Which topics of ours there are."""
        async with self.admin() as admin:
            return {topic for topic in await admin.list_topics() if topic.startswith(f"{self.prefix}.")}

    async def delete(self) -> None:
        """Delete them all, and wait until they are gone."""
        ours = await self.names()
        if not ours:
            return
        async with self.admin() as admin:
            await admin.delete_topics(sorted(ours))
        async with asyncio.timeout(GONE_SECONDS):
            while await self.names():
                pass  # asking takes long enough

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers, request_timeout_ms=5000)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def broker_for_everybody(directory: Path) -> AsyncIterator[str]:
    """Where a broker answers, for as long as the tests run: KAFKA_BOOTSTRAP, a container, or one of our own."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given:
        yield given
        return
    refused = await asyncio.to_thread(_no_engine)
    if refused is None:
        async with AsyncExitStack() as stack:
            try:
                bootstrap = await stack.enter_async_context(_container())
            except Exception as error:  # the image cannot be fetched, say; there is one more way
                refused = f"the container engine runs no Kafka ({error})"
            else:
                yield bootstrap
                return
    async with broker_of_ones_own(directory, instead_of=f"KAFKA_BOOTSTRAP is not set; {refused}") as broker:
        yield broker.bootstrap


@asynccontextmanager
async def broker_of_ones_own(directory: Path, instead_of: str = "") -> AsyncIterator[LocalBroker]:
    """A broker that may be stopped, killed and paused."""
    await demand_java(instead_of)
    async with LocalBroker(directory) as broker:
        yield broker


async def demand_java(instead_of: str = "") -> None:
    """For whoever starts a broker by other means: no test where there can be none."""
    missing = await asyncio.to_thread(_what_is_missing)
    if missing is not None:
        _not_checked("; ".join(filter(None, (instead_of, missing))))


def _not_checked(why: str) -> NoReturn:
    if os.environ.get("REQUIRE_KAFKA") == "1":
        pytest.fail(f"REQUIRE_KAFKA=1 and there is no Kafka: {why}", pytrace=False)
    pytest.skip(f"NOT CHECKED: no Kafka on this machine: {why}")


def _what_is_missing() -> str | None:
    try:
        install()
    except KafkaMissingError as error:
        return str(error)
    return None


def _no_engine() -> str | None:
    """Why no container engine can be used here; None if one answers, which takes it milliseconds."""
    # Every run of any test imports this file, and only those that need Kafka have time to import Docker's client.
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=2)
        try:
            client.ping()
        finally:
            client.close()
    except DockerException as error:
        return f"no container engine answers ({error})"
    return None


@asynccontextmanager
async def _container() -> AsyncIterator[str]:
    """The same version with the same settings as our own broker, in a container."""
    from testcontainers.core.container import DockerContainer

    port = free_port()
    container = DockerContainer(f"apache/kafka:{version()}").with_bind_ports(9092, port)
    bootstrap = f"{container.get_docker_client().host()}:{port}"
    for name, value in container_settings(bootstrap).items():
        container.with_env(name, value)
    try:
        await asyncio.to_thread(container.start)
        await serving(bootstrap, CONTAINER_SECONDS)
        yield bootstrap
    finally:
        await asyncio.to_thread(container.stop)


def container_settings(bootstrap: str) -> dict[str, str]:
    """Our broker's settings as the image wants them: KAFKA_… for each, listening to all outside its container."""
    filled = SETTINGS.substitute(port=9092, controller_port=9093, logs="/var/lib/kafka/data")
    pairs = dict(line.split("=", 1) for line in filled.splitlines() if line and not line.startswith("#"))
    pairs["listeners"] = "PLAINTEXT://:9092,CONTROLLER://:9093"
    pairs["advertised.listeners"] = f"PLAINTEXT://{bootstrap}"
    return {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in pairs.items()}
