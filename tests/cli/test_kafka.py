"""`okr kafka provision` on a real broker, as a person runs it."""

import json
import os
import subprocess

import pytest

from tests.support.embedded import OKR
from tests.support.kafka import Topics
from tools.kafka.broker import free_port

SERVICES = ("directory", "goals", "checkins", "alignment", "notifications")


def okr(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OKR_")}
    return subprocess.run([OKR, *arguments], env=kept | environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def where(topics: Topics) -> dict[str, str]:
    return {"OKR_KAFKA": topics.bootstrap, "OKR_KAFKA_PREFIX": topics.prefix}


async def test_every_service_that_writes_events_gets_its_topic_once(topics: Topics, where: dict[str, str]) -> None:
    first = okr("kafka", "provision", **where)
    second = okr("kafka", "provision", **where)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    for service in SERVICES:
        assert topics.of(service) in first.stdout
    assert first.stdout.count("made\n") == len(SERVICES)
    assert f"5 topics at {topics.bootstrap} as they should be, 5 made now." in first.stdout
    assert "5 topics" in second.stdout
    assert "0 made now" in second.stdout
    assert await topics.names() == {topics.of(service) for service in SERVICES}


async def test_json_tells_each_topic_as_it_is(topics: Topics, where: dict[str, str]) -> None:
    done = okr("kafka", "provision", "--json", **where, OKR_KAFKA_PARTITIONS="2")
    told = json.loads(done.stdout)
    assert told["kafka"] == topics.servers
    assert told["topics"][0] == {"topic": topics.of("directory"), "partitions": 2, "replication": 1, "created": True}


async def test_a_topic_cut_otherwise_is_one_clear_line_and_exit_code_2(topics: Topics, where: dict[str, str]) -> None:
    await topics.provision("goals", partitions=4)
    done = okr("kafka", "provision", **where)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"okr: topic {topics.of('goals')}: expected 8 partitions, found 4;")


def test_a_broker_that_is_away_is_one_clear_line_and_exit_code_2() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    done = okr("kafka", "provision", OKR_KAFKA=nowhere)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"okr: no Kafka broker answers at {nowhere}; ")


@pytest.mark.parametrize("value", ["", "localhost"])
def test_without_an_address_the_setting_is_named(value: str) -> None:
    done = okr("kafka", "provision", OKR_KAFKA=value)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "OKR_KAFKA" in line
