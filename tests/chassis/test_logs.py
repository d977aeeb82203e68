"""What the platform writes about itself: machines read lines of JSON, and nobody reads what says nothing."""

import json
import logging
from collections.abc import Iterator
from uuid import uuid4

import pytest

from okr_chassis.telemetry import logs
from okr_chassis.telemetry.correlation import accepted, correlated, correlation_id


@pytest.fixture(autouse=True)
def quiet_afterwards() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_elsewhere_than_on_a_terminal_each_line_is_json_with_its_correlation_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", terminal=False)
    identifier = uuid4()
    with correlated(identifier):
        assert correlation_id() == identifier
        try:
            raise KeyError("lost")
        except KeyError:
            logging.getLogger("okr_chassis.test").exception("it went wrong with %s", "this")
    logging.getLogger("okr_chassis.test").debug("details nobody asked for")
    [line] = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert found["event"] == "it went wrong with this"
    assert found["level"] == "error"
    assert found["correlation_id"] == str(identifier)
    assert "lost" in json.dumps(found["exception"])


def test_on_a_terminal_a_line_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", terminal=True)
    logging.getLogger("okr_chassis.test").info("all is well")
    logging.getLogger("okr_chassis.test").warning("look at this")
    written = capsys.readouterr().err
    assert "look at this" in written
    assert "all is well" not in written
    assert not written.startswith("{")


@pytest.mark.parametrize("text", [None, "", "x", "{" + "0" * 34 + "}", "é" * 36, "0" * 10_000])
def test_a_correlation_id_that_is_none_is_replaced_and_never_refused(text: str | None) -> None:
    assert str(accepted(text)) != text
    assert correlation_id() != correlation_id()


def test_a_client_that_cannot_connect_is_heard_once_a_minute_and_is_no_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", terminal=False)
    for _ in range(1000):
        logging.getLogger("aiokafka").error("Unable connect to node with id %s", 1)
    logging.getLogger("aiokafka.consumer.fetcher").error("Failed fetch messages from %s", 1)
    logging.getLogger("okr_chassis.test").error("ours are all told")
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(each["logger"], each["level"]) for each in found] == [
        ("aiokafka", "warning"),
        ("aiokafka.consumer.fetcher", "warning"),
        ("okr_chassis.test", "error"),
    ]


def test_that_a_new_broker_has_no_coordinator_yet_is_no_news_except_to_who_looks_for_something(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for level in ("info", "debug"):
        logs.configure(level, terminal=False)
        logging.getLogger("aiokafka.consumer.group_coordinator").error(
            "Group Coordinator Request failed: %s", "[Error 15] GroupCoordinatorNotAvailableError"
        )
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["level"] == "error"


def test_a_minute_later_it_is_heard_again() -> None:
    now = 0.0
    patience = logs.Patience(monotonic=lambda: now)
    logging.getLogger().setLevel(logging.INFO)

    def heard() -> bool:
        return bool(patience.filter(logging.LogRecord("aiokafka", logging.ERROR, "", 0, "away", None, None)))

    assert [heard(), heard()] == [True, False]
    now = logs.REPEATED_SECONDS
    assert [heard(), heard()] == [True, False]
