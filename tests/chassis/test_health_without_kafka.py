"""Kafka goes away: commands are taken all the same, and nobody who looks can miss it."""

from pathlib import Path
from uuid import uuid4

from okr.directory.v1 import directory_pb2 as pb
from okr.operations.v1 import operations_pb2
from tests.chassis.conftest import running
from tests.support.kafka import LocalBroker
from tests.support.side_door import get, scrape


async def test_without_kafka_commands_are_taken_and_the_outage_is_told_everywhere(
    fresh_dsn: str, tmp_path: Path, own_broker: LocalBroker
) -> None:
    kafka, prefix = (own_broker.bootstrap,), f"t{uuid4().hex}"
    async with running(fresh_dsn, tmp_path / "data", metrics_port=0, kafka=kafka, kafka_prefix=prefix) as site:
        client, operations = site.client(), site.client(operator=True).operations
        await client.directory.FoundOrganization(pb.FoundOrganizationRequest(request_id=str(uuid4()), name="Mint"))
        while (await scrape(site.platform))("okr_relay_lag_events", service="directory"):
            pass  # until Kafka has what was said so far
        told = await scrape(site.platform)
        assert told("okr_relay_published_events_total", service="directory") == 1
        assert told("okr_relay_partitions", service="directory") == 8
        assert told.labelled("okr_relay_trouble") == []
        assert (await operations.GetStatus(operations_pb2.GetStatusRequest())).bus.reachable

        await own_broker.stop()
        for index in range(3):
            await client.directory.AddUnit(
                pb.AddUnitRequest(request_id=str(uuid4()), unit_id=str(uuid4()), name=f"Unit {index}")
            )
        while not (told := await scrape(site.platform)).labelled("okr_relay_trouble"):
            pass  # until the relay has noticed
        assert told.labelled("okr_relay_trouble") == [{"service": "directory", "reason": "KAFKA_AWAY"}]
        assert told("okr_relay_lag_events", service="directory") == 3
        assert told("okr_relay_rewinds_total", service="directory") >= 1
        ready = await get(site.platform.watching.address, "/readyz")
        assert ready.status == 200, "a service keeps taking commands"
        check = ready.checks()["relay directory"]
        assert (check["ok"], check["counts"]) == (False, False)
        assert check["reason"].startswith("waits: KAFKA_AWAY")
        assert (await get(site.platform.watching.address, "/livez")).status == 200
        status = await operations.GetStatus(operations_pb2.GetStatusRequest())
        assert (status.ready, status.bus.kind, status.bus.reachable) == (True, "kafka", False)
        assert status.bus.problem
        [relay] = status.relays
        assert (relay.lag_events, relay.reason) == (3, "KAFKA_AWAY")

        await own_broker.start()
        while (await scrape(site.platform))("okr_relay_lag_events", service="directory"):
            pass  # until Kafka has all of it again
        told = await scrape(site.platform)
        assert told("okr_relay_published_events_total", service="directory") >= 4
