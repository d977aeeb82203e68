"""`okr status`: what an operator sees at a glance, put together from all processes."""

import io
import json
from pathlib import Path
from uuid import uuid4

import pytest

from okr.directory.v1 import directory_pb2 as pb
from okr.operations.v1 import operations_pb2
from okr_cli.client import Process
from okr_cli.commands.status import Found, Told, status
from okr_cli.failures import SetupError
from okr_cli.output import Output
from okr_cli.session import Session
from okr_eventstore.projection import Projection, Rows
from tests.chassis.conftest import Site, running
from tests.chassis.house import Module, UnitRow

Response = operations_pb2.GetStatusResponse


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> io.StringIO:
    for name in ("OKR_TOKEN", "OKR_AS", "OKR_ORGANIZATION", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OKR_DATA_DIR", str(tmp_path / "data"))
    return io.StringIO()


def session(site: Site, shown: io.StringIO, monkeypatch: pytest.MonkeyPatch, *, as_json: bool = False) -> Session:
    monkeypatch.setenv("OKR_GRPC_PORT", site.platform.address.rpartition(":")[2])
    return Session(Output(as_json, shown, shown))


async def test_a_platform_at_work_is_shown_at_a_glance(
    fresh_dsn: str, tmp_path: Path, shown: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(fresh_dsn, tmp_path / "data") as site:
        client = site.client()
        await client.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint"))
        await site.platform.wait_idle()
        await status(session(site, shown, monkeypatch))
        text = shown.getvalue()
        assert "Services hear of each other from their logs in PostgreSQL." in text
        assert "takes commands" in text
        assert text.splitlines()[-1] == "All is well."
        [line] = [line for line in text.splitlines() if "directory.structure" in line]
        assert line.split() == [
            "directory",
            "directory.structure",
            "directory",
            "0",
            "0",
            "0",
            "0",
            "0",
            "applies",
            "events",
        ]

        shown.truncate(0)
        shown.seek(0)
        await status(session(site, shown, monkeypatch, as_json=True))
        told = json.loads(shown.getvalue())
        assert told["well"] is True
        assert told["bus"] == {"kind": "postgres", "servers": [], "reachable": True, "problem": None}
        assert told["logs"] == [{"service": "directory", "events": 1, "relay": None}]
        [process] = told["processes"]
        assert (process["ready"], process["not_ready_because"]) == (True, [])


async def test_a_halted_consumer_is_shown_with_its_reason(
    fresh_dsn: str, tmp_path: Path, shown: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choke(rows: Rows, event: object) -> None:
        raise ValueError("cannot swallow anything")

    module = Module(projection=Projection("structure", "directory", (UnitRow,), choke))
    async with running(fresh_dsn, tmp_path / "data", module) as site:
        [runner] = [each for _, each in site.platform.runners if each.name == "directory.structure"]
        while not runner.halted:
            client = site.client()
            answer = await client.directory.FoundOrganization(
                pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint")
            )
            shard, position = (int(part) for part in answer.receipt.position.split(":")[1::2])
            await runner.caught_up(shard, position, 5)
        await status(session(site, shown, monkeypatch, as_json=True))
        told = json.loads(shown.getvalue())
        [consumer] = [each for each in told["consumers"] if each["consumer"] == "directory.structure"]
        assert (told["well"], consumer["halted"]) == (False, True)
        assert "cannot swallow anything" in consumer["reason"]
        assert consumer["parked_streams"] > 5
        assert told["processes"][0]["ready"] is True, "commands are taken all the same"


async def test_a_platform_that_is_not_there_is_told_once_and_with_the_way_out(
    shown: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OKR_GRPC_PORT", "1")
    monkeypatch.setenv("OKR_TOKEN", "anything")
    with pytest.raises(SetupError, match=r"127\.0\.0\.1:1: does not answer; start the platform with `okr up`"):
        await status(Session(Output(False, shown, shown)))


def process(address: str, *services: str) -> Process:
    return Process(address, services, None)  # type: ignore[arg-type]  # nobody is asked


def test_copies_of_a_service_are_one_consumer_and_one_relay() -> None:
    """Shards are shared, so what is behind adds up; each copy of a relay knows the lag of the whole log."""

    def copy(lag: int, published: int) -> Response:
        return Response(
            ready=True,
            consumers=[
                Response.ConsumerStatus(service="goals", consumer="goals.plans", source="goals", lag_events=lag)
            ],
            logs=[Response.LogStatus(service="goals", events=100)],
            relays=[Response.RelayStatus(service="goals", lag_events=7, partitions=4, published_events=published)],
            bus=Response.BusStatus(kind="kafka", servers=["broker:9092"], reachable=True),
        )

    told = Found([Told(process("a:1", "goals"), copy(2, 40)), Told(process("b:1", "goals"), copy(3, 53))]).document()
    [consumer], [log] = told["consumers"], told["logs"]
    assert consumer["lag_events"] == 5
    assert (log["events"], log["relay"]["lag_events"]) == (100, 7)
    assert (log["relay"]["partitions"], log["relay"]["published_events"]) == (8, 93)
    assert told["well"] is True


def test_a_process_that_does_not_answer_and_a_kafka_that_is_away_are_no_secret() -> None:
    away = Response(
        ready=True,
        relays=[Response.RelayStatus(service="goals", lag_unknown=True, reason="KAFKA_AWAY", message="no Kafka")],
        logs=[Response.LogStatus(service="goals", events=100)],
        bus=Response.BusStatus(kind="kafka", servers=["broker:9092"], problem="no answer within 2 s"),
    )
    found = Found(
        [Told(process("a:1", "goals"), away), Told(process("b:1", "insights"), Response(), "does not answer")]
    )
    told = found.document()
    assert told["well"] is False
    assert told["processes"][1]["not_ready_because"] == ["does not answer"]
    assert told["logs"][0]["relay"]["lag_events"] is None
    assert told["logs"][0]["relay"]["reason"] == "KAFKA_AWAY: no Kafka"
    assert found.bus_line() == "Kafka at broker:9092: no answer within 2 s."
