"""A small organisation on the whole platform: people, a running cycle, one objective with one key result."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import okr_alignment.__main__ as alignment
import okr_checkins.__main__ as checkins
import okr_directory.__main__ as directory
import okr_goals.__main__ as goals
import okr_insights.__main__ as insights
import okr_notifications.__main__ as notifications
from okr.checkins.v1 import checkins_pb2
from okr.directory.v1 import directory_pb2
from okr.goals.v1 import goals_pb2
from okr_chassis.clock import ManualClock
from okr_eventstore.model import shard_of
from tests.support.house import Desk, House, new_id

SERVICES = [directory, goals, checkins, alignment, notifications, insights]
NEW_YEAR = datetime(2026, 1, 1, 9, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 15, 12, tzinfo=UTC)


@dataclass
class Town:
    """Ana leads and is accountable; Ben belongs to the same organisation; both have desks."""

    house: House
    clock: ManualClock
    ana: Desk
    ben: Desk
    unit_id: str
    cycle_id: str
    objective_id: str
    key_result_id: str

    async def settle(self) -> None:
        await self.house.platform.wait_idle()

    async def check_in(self, value: str, **more: str) -> checkins_pb2.RecordCheckInResponse:
        request: dict[str, Any] = {
            "request_id": new_id(),
            "check_in_id": new_id(),
            "key_result_id": self.key_result_id,
            **more,
        }
        answer: checkins_pb2.RecordCheckInResponse = await self.ana.checkins.RecordCheckIn(
            checkins_pb2.RecordCheckInRequest(value=value, **request)
        )
        return answer


def organization_of_a_new_shard() -> UUID:
    """Recorded time never goes back inside a shard: organisations with a past each need a shard each."""
    while True:
        organization_id = uuid4()
        if shard_of(organization_id) not in _settled:
            _settled.add(shard_of(organization_id))
            return organization_id


_settled: set[int] = set()


async def settle_in(built: House, clock: ManualClock, organization_id: UUID) -> Town:
    """Quarter 1 of 2026 has begun; the win rate is to go from 20 to 30 %, with 25 promised."""
    ana, ben = built.desk(organization_id), built.desk(organization_id)
    place = Town(built, clock, ana, ben, new_id(), new_id(), new_id(), new_id())
    await ana.directory.FoundOrganization(directory_pb2.FoundOrganizationRequest(request_id=new_id(), name="Mint"))
    await ana.directory.AddUnit(
        directory_pb2.AddUnitRequest(
            request_id=new_id(), unit_id=place.unit_id, name="Sales", kind=directory_pb2.UNIT_KIND_DEPARTMENT
        )
    )
    for desk, name in ((ana, "Ana"), (ben, "Ben")):
        await ana.directory.RegisterPerson(
            directory_pb2.RegisterPersonRequest(
                request_id=new_id(),
                person_id=str(desk.person_id),
                handle=name.lower(),
                name=name,
                unit_id=place.unit_id,
            )
        )
    await ana.goals.DraftCycle(
        goals_pb2.DraftCycleRequest(
            request_id=new_id(), cycle_id=place.cycle_id, name="Q1", starts_on="2026-01-01", ends_on="2026-03-31"
        )
    )
    await ana.goals.ActivateCycle(goals_pb2.ActivateCycleRequest(request_id=new_id(), cycle_id=place.cycle_id))
    await ana.goals.DraftObjective(objective(place))
    await ana.goals.DefineKeyResult(key_result(place))
    await ana.goals.ActivateObjective(
        goals_pb2.ActivateObjectiveRequest(request_id=new_id(), objective_id=place.objective_id)
    )
    return place


def objective(place: Town, **changed: Any) -> goals_pb2.DraftObjectiveRequest:
    fields: dict[str, Any] = {
        "request_id": new_id(),
        "objective_id": place.objective_id,
        "cycle_id": place.cycle_id,
        "unit_id": place.unit_id,
        "owner_id": str(place.ana.person_id),
        "title": "Predictable, healthy growth",
        **changed,
    }
    return goals_pb2.DraftObjectiveRequest(**fields)


def key_result(
    place: Town, champions: list[goals_pb2.Champion] | None = None, **changed: Any
) -> goals_pb2.DefineKeyResultRequest:
    fields: dict[str, Any] = {
        "request_id": new_id(),
        "objective_id": place.objective_id,
        "key_result_id": place.key_result_id,
        "title": "Win rate",
        "start": "20",
        "commit": "25",
        "target": "30",
        "unit": "%",
        **changed,
    }
    if champions is None:
        champions = [
            goals_pb2.Champion(person_id=str(place.ana.person_id), role=goals_pb2.CHAMPION_ROLE_ACCOUNTABLE),
            goals_pb2.Champion(person_id=str(place.ben.person_id), role=goals_pb2.CHAMPION_ROLE_RESPONSIBLE),
        ]
    return goals_pb2.DefineKeyResultRequest(champions=champions, **fields)
