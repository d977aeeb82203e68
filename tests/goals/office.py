"""An organisation for tests: a unit, Ana and Ben, and short words for what they ask of goals."""

from typing import Any, Self

from okr.directory.v1 import directory_pb2
from okr.goals.v1 import goals_pb2 as pb
from tests.support.house import Desk, House, new_id


class Office:
    def __init__(self, house: House, desk: Desk) -> None:
        self.house = house
        self.desk = desk
        self.goals = desk.goals
        self.unit_id, self.ana, self.ben = new_id(), new_id(), new_id()

    @classmethod
    async def open(cls, house: House) -> Self:
        office = cls(house, house.desk())
        directory = office.desk.directory
        await directory.FoundOrganization(directory_pb2.FoundOrganizationRequest(request_id=new_id(), name="Bakery"))
        await directory.AddUnit(
            directory_pb2.AddUnitRequest(
                request_id=new_id(), unit_id=office.unit_id, name="Sales", kind=directory_pb2.UNIT_KIND_DEPARTMENT
            )
        )
        for person_id, handle, name in ((office.ana, "ana", "Ana Souza"), (office.ben, "ben", "Ben Okafor")):
            await directory.RegisterPerson(
                directory_pb2.RegisterPersonRequest(
                    request_id=new_id(), person_id=person_id, handle=handle, name=name, unit_id=office.unit_id
                )
            )
        return office

    async def draft_cycle(self, **changes: str) -> str:
        fields = {"cycle_id": new_id(), "name": "Q1 2026", "starts_on": "2026-01-01", "ends_on": "2026-03-31"}
        request = pb.DraftCycleRequest(request_id=new_id(), **(fields | changes))
        await self.goals.DraftCycle(request)
        return request.cycle_id

    async def active_cycle(self) -> str:
        cycle_id = await self.draft_cycle()
        await self.goals.ActivateCycle(pb.ActivateCycleRequest(request_id=new_id(), cycle_id=cycle_id))
        return cycle_id

    async def draft(self, cycle_id: str, **changes: str) -> str:
        fields = {"objective_id": new_id(), "unit_id": self.unit_id, "owner_id": self.ana, "title": "Grow"}
        request = pb.DraftObjectiveRequest(request_id=new_id(), cycle_id=cycle_id, **(fields | changes))
        await self.goals.DraftObjective(request)
        return request.objective_id

    def definition(self, objective_id: str, **changes: Any) -> pb.DefineKeyResultRequest:
        fields: dict[str, Any] = {
            "request_id": new_id(),
            "key_result_id": new_id(),
            "title": "Trials",
            "start": "0",
            "target": "100",
            "unit": "trials",
            "champions": [pb.Champion(person_id=self.ana, role=pb.CHAMPION_ROLE_ACCOUNTABLE)],
        }
        return pb.DefineKeyResultRequest(objective_id=objective_id, **(fields | changes))

    async def define(self, objective_id: str, **changes: Any) -> str:
        request = self.definition(objective_id, **changes)
        await self.goals.DefineKeyResult(request)
        return request.key_result_id

    async def activate(self, objective_id: str) -> str:
        request = pb.ActivateObjectiveRequest(request_id=new_id(), objective_id=objective_id)
        return str((await self.goals.ActivateObjective(request)).receipt.position)

    async def objective(self, objective_id: str, position: str = "") -> pb.Objective:
        """Read after `position`, or after all that was ever written."""
        await self.house.platform.wait_idle()
        answer: pb.GetObjectiveResponse = await self.goals.GetObjective(
            pb.GetObjectiveRequest(objective_id=objective_id, min_positions=[position] if position else [])
        )
        return answer.objective
