"""From one process without Kafka to Kafka and back: consumers go on where they stood, and nothing is lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from okr.insights.v1 import insights_pb2
from okr.operations.v1 import operations_pb2
from okr.operations.v1.operations_pb2_grpc import OperationsServiceStub
from okr_chassis.clock import ManualClock
from okr_chassis.platform import Platform
from okr_chassis.rpc.channels import connect
from okr_chassis.settings import Settings
from tests.journeys.town import NEW_YEAR, SERVICES, Town, organization_of_a_new_shard, settle_in
from tests.support.house import House
from tests.support.kafka import Topics

EARLY = datetime(2026, 1, 8, 9, tzinfo=UTC)
"""Before the first check-in is due, the clock alone brings nothing about: what is there is what was asked for."""


class Form:
    """The platform in one of its forms, on data that stay."""

    def __init__(self, platform: Platform, place: Town) -> None:
        self.platform = platform
        self.place = place

    async def checkpoints(self) -> dict[tuple[str, str, str, int], int]:
        """(Service, consumer, source, shard) → up to where it is applied, as it is stored."""
        return {
            (name, row["consumer"], row["source"], row["shard"]): row["position"]
            for name, running in self.platform.services.items()
            for row in await running.host.database.fetch(
                "SELECT consumer, source, shard, position FROM checkpoint WHERE position > 0"
            )
        }

    @property
    def applied(self) -> int:
        """How many events consumers have applied since the start."""
        return sum(runner.counters.events for _, runner in self.platform.runners)

    async def verdicts(self) -> dict[str, list[tuple[str, str]]]:
        """Projection → its tables and their digests, all of them equal to a fold of the whole log."""
        assert self.platform.issuer is not None, "tests run in development"
        token = self.platform.issuer.issue(uuid4(), uuid4(), operator=True)
        found: dict[str, list[tuple[str, str]]] = {}
        async with connect(self.platform.address, lambda: token) as channel:
            operations: Any = OperationsServiceStub(channel)
            async for step in operations.Verify(operations_pb2.VerifyRequest()):
                if step.HasField("verdict"):
                    assert step.verdict.equal, step
                    found[step.projection] = [(each.table, each.live_digest) for each in step.verdict.tables]
        return found


async def test_from_embedded_to_kafka_and_back_nothing_is_lost_and_nothing_is_done_twice(
    fresh_dsn: str, tmp_path: Path, topics: Topics
) -> None:
    organization_id, clock = organization_of_a_new_shard(), ManualClock(NEW_YEAR)
    embedded = Settings(data_dir=tmp_path / "data", grpc_port=0)
    over_kafka = embedded.model_copy(
        update={"kafka": tuple(topics.servers), "kafka_prefix": topics.prefix, "instance": "one"}
    )
    async with form(embedded, fresh_dsn, clock, organization_id) as before:
        clock.set(EARLY)
        await before.place.check_in("24")
        await before.platform.wait_idle()
        reached, digests = await before.checkpoints(), await before.verdicts()
        town = before.place

    async with form(over_kafka, fresh_dsn, clock, organization_id, town) as kafka:
        await kafka.platform.wait_idle()
        assert await kafka.checkpoints() == reached, "everybody goes on where they stood"
        assert await kafka.verdicts() == digests, "also when the other side is folded from Kafka's beginning"
        assert kafka.applied == 0
        await kafka.place.check_in("26")
        await kafka.platform.wait_idle()
        reached, digests = await kafka.checkpoints(), await kafka.verdicts()
        assert (await board_value(kafka.place)) == "26"

    async with form(embedded, fresh_dsn, clock, organization_id, town) as after:
        await after.platform.wait_idle()
        assert await after.checkpoints() == reached
        assert await after.verdicts() == digests
        assert after.applied == 0
        await after.place.check_in("27")
        await after.platform.wait_idle()
        assert (await board_value(after.place)) == "27"

    async with form(over_kafka, fresh_dsn, clock, organization_id, town) as again:
        await again.platform.wait_idle()
        assert (await board_value(again.place)) == "27"
        assert await again.verdicts()


@asynccontextmanager
async def form(
    settings: Settings, dsn: str, clock: ManualClock, organization_id: UUID, town: Town | None = None
) -> AsyncIterator[Form]:
    async with Platform(settings, dsn, SERVICES, clock=clock) as platform:
        house = House(platform)
        if town is None:
            place = await settle_in(house, clock, organization_id)
        else:
            ana, ben = (house.desk(organization_id, each.person_id) for each in (town.ana, town.ben))
            place = replace(town, house=house, ana=ana, ben=ben)
        try:
            yield Form(platform, place)
        finally:
            for desk in house.desks:
                await desk.channel.close()


async def board_value(place: Town) -> str:
    answer = await place.ana.insights.GetBoard(insights_pb2.GetBoardRequest())
    ((key_result,),) = [objective.key_results for objective in answer.objectives]
    value: str = key_result.value
    return value
