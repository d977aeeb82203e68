"""What we ask of gRPC beside its defaults."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from okr_chassis.rpc import channels
from okr_chassis.serving import server

OPTIONS = (*server._OPTIONS, *channels.OPTIONS)


@pytest.mark.parametrize("name", sorted({name for name, _ in OPTIONS}))
def test_an_option_has_a_name_that_grpc_knows(name: str) -> None:
    """It passes over any other without a word. Servers once took their clients' questions for a flood, and hung up."""
    library = find_spec("grpc._cython.cygrpc")
    assert library is not None and library.origin is not None
    assert name.encode() in Path(library.origin).read_bytes()


def test_servers_bear_that_clients_ask_as_often_as_they_do() -> None:
    told = dict(OPTIONS)
    assert told["grpc.http2.min_ping_interval_without_data_ms"] < dict(channels.OPTIONS)["grpc.keepalive_time_ms"]
