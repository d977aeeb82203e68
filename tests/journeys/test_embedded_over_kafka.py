"""`okr up --kafka`: the same platform in one process, whose services hear of each other over Kafka."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.embedded import Installation, free_port
from tests.support.kafka import Topics

pytestmark = pytest.mark.timeout(240)


class OverKafka(Installation):
    """Commands need no Kafka; the platform is told where it is."""

    def __init__(self, data_dir: Path, topics: Topics) -> None:
        super().__init__(data_dir)
        self._topics = topics

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"OKR_KAFKA_PREFIX": self._topics.prefix}


@pytest.fixture
async def home(tmp_path: Path, topics: Topics) -> AsyncIterator[Installation]:
    built = OverKafka(tmp_path / "data", topics)
    await built.start("--kafka", topics.bootstrap)
    try:
        yield built
    finally:
        assert await built.stop() == 0


async def test_samples_reads_of_ones_own_writes_rebuild_and_verify_are_as_without_kafka(
    home: Installation, topics: Topics
) -> None:
    board = (await home.okr("board", "--json")).json
    assert board["organization"] == "Brightwater Software"
    done = await home.okr("check-in", "onboarding tickets", "12.9", "--as", "tomas")
    assert done.code == 0, done.err
    assert "12.9 tickets" in done.out, "the board was asked for what was written a moment ago"
    rebuilt = await home.okr("rebuild", "insights", "--json")
    assert rebuilt.code == 0, rebuilt.err
    assert {each["equal"] for each in rebuilt.json["projections"]} == {True}
    verified = await home.okr("verify", "--json")
    assert verified.code == 0, verified.err
    status = await home.okr("status", "--json")
    assert status.code == 0, status.err
    assert await topics.names() == {
        topics.of(service) for service in ("directory", "goals", "checkins", "alignment", "notifications")
    }


async def test_a_kafka_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    port = free_port()
    answer = await Installation(tmp_path / "data").okr("up", "--no-samples", "--kafka", f"127.0.0.1:{port}")
    assert answer.code == 2, answer.err
    assert f"no Kafka broker answers at 127.0.0.1:{port}" in answer.err
    assert "Traceback" not in answer.err
