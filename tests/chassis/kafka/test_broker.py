"""The broker the tests stand on keeps what it was given, through everything that is done to it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from okr_chassis.kafka.topics import provision, topic_of
from okr_chassis.storage.data_directory import DataDirectoryInUseError
from tests.support.kafka import LocalBroker, Topics, broker_of_ones_own, container_settings
from tools.kafka.broker import KafkaStartError
from tools.kafka.installation import KafkaMissingError, install

ROOT = Path(__file__).parents[3]
GOALS = topic_of("goals")


@asynccontextmanager
async def producer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, compression_type="zstd",
        request_timeout_ms=2000,
    )  # fmt: skip
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def read(bootstrap: str, topic: str, records: int) -> list[bytes]:
    """The first of partition 0, read by nobody's group."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        async with asyncio.timeout(30):
            return [(await consumer.getone()).value for _ in range(records)]
    finally:
        await consumer.stop()


async def test_records_come_back_as_they_were_sent_packed_with_zstd(topics: Topics) -> None:
    await topics.provision("goals")
    async with producer(topics.bootstrap) as sending:
        for number in range(3):
            await sending.send_and_wait(topics.of("goals"), b"%d" % number * 1000, partition=0)
    assert await read(topics.bootstrap, topics.of("goals"), 3) == [b"%d" % number * 1000 for number in range(3)]


async def test_a_topic_nobody_provisioned_does_not_come_into_being(topics: Topics) -> None:
    async with topics.admin() as admin:
        (described,) = await admin.describe_topics([topics.of("goals")])
    assert described["error_code"] != 0
    assert await topics.names() == set()


async def test_what_was_acknowledged_survives_a_stop_and_a_kill_on_the_same_address(own_broker: LocalBroker) -> None:
    address = own_broker.bootstrap
    await provision([address], ["goals"])
    async with producer(address) as sending:
        await sending.send_and_wait(GOALS, b"first", partition=0)
    await own_broker.restart()
    async with producer(address) as sending:
        await sending.send_and_wait(GOALS, b"second", partition=0)
        await own_broker.kill()
    assert not own_broker.running
    await own_broker.start()
    assert own_broker.bootstrap == address
    (found,) = await provision([address], ["goals"])
    assert not found.created
    assert await read(address, GOALS, 2) == [b"first", b"second"]


async def test_a_paused_broker_answers_nobody_until_it_may_go_on(own_broker: LocalBroker) -> None:
    await provision([own_broker.bootstrap], ["goals"])
    async with producer(own_broker.bootstrap) as sending:
        await sending.send_and_wait(GOALS, b"before", partition=0)
        own_broker.pause()
        meanwhile = asyncio.create_task(sending.send_and_wait(GOALS, b"meanwhile", partition=0))
        done, _ = await asyncio.wait([meanwhile], timeout=0.5)
        assert not done
        own_broker.resume()
        async with asyncio.timeout(30):
            await meanwhile
    assert await read(own_broker.bootstrap, GOALS, 2) == [b"before", b"meanwhile"]


async def test_a_paused_broker_can_be_stopped(own_broker: LocalBroker) -> None:
    own_broker.pause()
    await own_broker.stop()
    assert not own_broker.running


async def test_an_address_in_use_is_told_and_left_alone(own_broker: LocalBroker, tmp_path: Path) -> None:
    second = LocalBroker(tmp_path / "second", own_broker.port)
    with pytest.raises(KafkaStartError, match=f"{own_broker.bootstrap} is in use by another process"):
        await second.start()
    assert own_broker.running


async def test_a_second_broker_on_the_same_data_is_kept_away_from_them(own_broker: LocalBroker) -> None:
    with pytest.raises(DataDirectoryInUseError, match="is in use by the running process"):
        await LocalBroker(own_broker.directory).start()
    (made,) = await provision([own_broker.bootstrap], ["goals"])
    assert made.created


async def test_a_broker_that_cannot_start_says_why_and_may_be_tried_again(tmp_path: Path) -> None:
    async with broker_of_ones_own(tmp_path / "kafka") as broker:
        await broker.stop()
        identity = broker.directory / "logs" / "meta.properties"
        known = identity.read_text()
        identity.write_text(known.replace("node.id=1", "node.id=2"))
        with pytest.raises(KafkaStartError, match=r"ended while it started and said last:.*Stored node id 2"):
            await broker.start()
        identity.write_text(known)
        await broker.start()


def test_a_machine_without_java_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(KafkaMissingError, match=r"needs Java 17 or newer.*JAVA_HOME"):
        install()


def test_an_old_java_is_refused_by_what_it_says_of_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(KafkaMissingError, match=r'is openjdk version "11\.0\.2"'):
        install()


@pytest.mark.parametrize("demanded", [False, True])
def test_a_machine_without_kafka_says_at_the_end_of_the_run_what_was_not_checked(
    demanded: bool, tmp_path: Path
) -> None:
    without = {"JAVA_HOME": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/nobody", "KAFKA_BOOTSTRAP": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/chassis/kafka/test_topics.py", "-k", "one_broker_that_answers"],
        cwd=ROOT, env=os.environ | without | {"REQUIRE_KAFKA": str(int(demanded))}, capture_output=True, text=True,
    )  # fmt: skip
    if demanded:
        assert done.returncode == 1
        assert "REQUIRE_KAFKA=1 and there is no Kafka: KAFKA_BOOTSTRAP is not set; no container engine" in done.stdout
    else:
        assert done.returncode == 0
        assert "= NOT CHECKED =" in done.stdout
        assert "1 skipped: no Kafka on this machine: KAFKA_BOOTSTRAP is not set; no container engine" in done.stdout


def test_a_container_gets_the_settings_of_our_own_broker() -> None:
    settings = container_settings("localhost:23456")
    assert settings["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://localhost:23456"
    assert settings["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert settings["KAFKA_CONTROLLER_QUORUM_VOTERS"] == "1@127.0.0.1:9093"
    assert all("$" not in value for value in settings.values())
