"""How the command speaks with the platform: retries that never do a thing twice, refusals in one line."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import grpc
import pytest

from okr.checkins.v1.checkins_pb2 import RecordCheckInRequest, RecordCheckInResponse
from okr.checkins.v1.checkins_pb2_grpc import CheckInsServiceServicer, add_CheckInsServiceServicer_to_server
from okr_chassis.rpc.errors import Refusal
from okr_cli import client as module
from okr_cli.client import Client, failure
from okr_cli.failures import RefusedError, SetupError, TryAgainError
from okr_contracts.errors import Violation


class Moody(CheckInsServiceServicer):
    """Fails as often as it is told to, and remembers what it was asked."""

    def __init__(self, failures: list[grpc.StatusCode]) -> None:
        self.failures = failures
        self.asked: list[RecordCheckInRequest] = []
        self.tokens: list[Any] = []

    async def RecordCheckIn(
        self, request: RecordCheckInRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> RecordCheckInResponse:
        self.asked.append(request)
        self.tokens.append(dict(context.invocation_metadata() or ()).get("authorization"))
        if self.failures:
            await context.abort(self.failures.pop(0), "not now")
        return RecordCheckInResponse(check_in_id=request.check_in_id)


@pytest.fixture
async def moody() -> AsyncIterator[tuple[Moody, Client]]:
    service = Moody([])  # type: ignore[abstract]  # of the service only RecordCheckIn is ever called here
    server = grpc.aio.server()
    add_CheckInsServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Client(f"127.0.0.1:{port}", "token-of-ana") as client:
        await client.connect()
        yield service, client
    await server.stop(None)


async def test_a_command_is_sent_again_with_the_same_request_id_while_the_platform_is_away(
    moody: tuple[Moody, Client],
) -> None:
    service, client = moody
    service.failures = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE]
    await client.tell(client.check_ins.RecordCheckIn, RecordCheckInRequest(value="5"))
    assert len(service.asked) == 3
    (request_id,) = {request.request_id for request in service.asked}
    assert UUID(request_id).version == 4
    assert set(service.tokens) == {"Bearer token-of-ana"}


async def test_two_commands_have_two_request_ids_and_a_derived_one_is_kept(moody: tuple[Moody, Client]) -> None:
    service, client = moody
    for request_id in ("", "", "derived"):
        await client.tell(client.check_ins.RecordCheckIn, RecordCheckInRequest(request_id=request_id))
    first, second, third = (request.request_id for request in service.asked)
    assert first != second
    assert third == "derived"


async def test_a_refusal_is_final(moody: tuple[Moody, Client]) -> None:
    service, client = moody
    service.failures = [grpc.StatusCode.FAILED_PRECONDITION]
    with pytest.raises(RefusedError, match="not now"):
        await client.tell(client.check_ins.RecordCheckIn, RecordCheckInRequest())
    assert len(service.asked) == 1


async def test_after_the_total_deadline_the_command_may_be_given_again(
    moody: tuple[Moody, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, client = moody
    monkeypatch.setattr(module, "TOTAL_SECONDS", 0.2)
    service.failures = [grpc.StatusCode.UNAVAILABLE] * 20
    with pytest.raises(TryAgainError) as ended:
        await client.tell(client.check_ins.RecordCheckIn, RecordCheckInRequest())
    assert ended.value.exit_code == 3


async def test_nobody_at_the_address_is_a_matter_of_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    async with Client("127.0.0.1:1", "") as client:
        with pytest.raises(SetupError, match=r"no platform answers at 127\.0\.0\.1:1"):
            await client.connect()


def test_every_violation_of_a_refusal_is_listed() -> None:
    violations = (Violation("value", "must be a decimal number"), Violation("note", "is too long"))
    error = failure(Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "…", violations))
    assert error.message == "2 things must be put right"
    assert error.details == ("value: must be a decimal number", "note: is too long")
    one = failure(Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "…", violations[:1]))
    assert (one.message, one.details) == ("value: must be a decimal number", ())


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 1),
        (grpc.StatusCode.NOT_FOUND, 1),
        (grpc.StatusCode.FAILED_PRECONDITION, 1),
        (grpc.StatusCode.ABORTED, 1),
        (grpc.StatusCode.UNAUTHENTICATED, 1),
        (grpc.StatusCode.PERMISSION_DENIED, 1),
        (grpc.StatusCode.INTERNAL, 1),
        (grpc.StatusCode.UNIMPLEMENTED, 2),
        (grpc.StatusCode.UNAVAILABLE, 3),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 3),
    ],
)
def test_each_status_has_its_exit_code(code: grpc.StatusCode, exit_code: int) -> None:
    assert failure(Refusal(code, code.name, "said")).exit_code == exit_code


APART = {
    "directory": "127.0.0.1:1",
    "goals": "127.0.0.1:2,127.0.0.1:3",
    "checkins": "127.0.0.1:4",
    "alignment": "127.0.0.1:4",
    "notifications": "127.0.0.1:5",
    "insights": "127.0.0.1:6",
}


async def test_operators_ask_every_address_once_and_hear_every_copy() -> None:
    async with Client("127.0.0.1:9", "", APART) as client:
        asked = [(each.address, each.services) for each in client.processes()]
        assert asked == [
            ("127.0.0.1:1", ("directory",)),
            ("127.0.0.1:2,127.0.0.1:3", ("goals",)),
            ("127.0.0.1:4", ("checkins", "alignment")),
            ("127.0.0.1:5", ("notifications",)),
            ("127.0.0.1:6", ("insights",)),
        ]
        assert [each.address for each in client.processes("goals")] == ["127.0.0.1:2,127.0.0.1:3"]
        assert [each.address for each in client.copies()] == [f"127.0.0.1:{port}" for port in range(1, 7)]
    async with Client("127.0.0.1:9", "") as together:
        assert [each.address for each in together.processes()] == ["127.0.0.1:9"]
        assert [each.address for each in together.processes("goals")] == ["127.0.0.1:9"]


async def test_a_service_that_does_not_answer_is_named(
    moody: tuple[Moody, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    (there,) = moody[1].processes()
    async with Client(there.address, "", {"goals": "127.0.0.1:1"}) as client:
        with pytest.raises(SetupError, match=r"nobody answers for goals at 127\.0\.0\.1:1;.*OKR_PEERS"):
            await client.connect()
