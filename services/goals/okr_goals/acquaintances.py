"""Whether the units and people a command names exist: from our replica, and by asking directory on a miss."""

from collections.abc import Collection
from uuid import UUID

from okr.directory.v1 import directory_pb2
from okr_chassis.identity.auth import caller
from okr_chassis.rpc.peers import Peers
from okr_contracts.errors import NotFoundError
from okr_goals import replica
from okr_goals.read_model import Reads


class Acquaintances:
    """The replica may lag behind directory by moments; a miss is therefore asked, a hit is believed."""

    def __init__(self, reads: Reads, peers: Peers) -> None:
        self._reads = reads
        self._peers = peers

    async def require_unit(self, unit_id: UUID) -> None:
        """Raises NotFoundError."""
        if not await replica.knows_unit(self._reads, caller().organization_id, unit_id):
            await self._peers.directory.GetUnit(directory_pb2.GetUnitRequest(unit_id=str(unit_id)))

    async def require_people(self, person_ids: Collection[UUID]) -> None:
        """Raises NotFoundError naming the first who is unknown."""
        known = await replica.known_people(self._reads, caller().organization_id, list(person_ids))
        missing = [person_id for person_id in dict.fromkeys(person_ids) if person_id not in known]
        if not missing:
            return
        request = directory_pb2.ListPeopleRequest(person_ids=[str(person_id) for person_id in missing])
        request.page.size = len(missing)
        answer = await self._peers.directory.ListPeople(request)
        found = {person.person_id for person in answer.people}
        for person_id in missing:
            if str(person_id) not in found:
                raise NotFoundError("person", person_id)
