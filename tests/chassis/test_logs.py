"""What the platform writes about itself: machines read lines of JSON, and nobody reads what says nothing."""

import json
import logging
from collections.abc import Iterator
from uuid import uuid4

import pytest

from okr_chassis import logs
from okr_chassis.correlation import accepted, correlated, correlation_id


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
