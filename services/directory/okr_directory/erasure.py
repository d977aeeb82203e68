"""To forget somebody: the log says that they were erased, then nothing is left that could say who they were.

The event comes first, because it is what everybody goes by. The deletion follows it twice: by the call
that asked for it, before it is answered, and by a reaction to the event, which finishes what a crash cut short.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

from okr_contracts.directory import PersonErased
from okr_directory.vault import KeyStore
from okr_eventstore.database import Database
from okr_eventstore.model import RecordedEvent

Tell = Callable[[UUID, UUID], None]
"""Called with the organisation and the person, once it is done."""


class Erasures:
    """Deletes the identity and destroys the key, in one transaction. Doing it again changes nothing."""

    def __init__(self, database: Database, keys: KeyStore, tell: Tell) -> None:
        self._database = database
        self._keys = keys
        self._tell = tell

    async def knows(self, organization_id: UUID, person_id: UUID) -> bool:
        """Whether there is anything to forget of somebody who was never registered: what they wrote."""
        return await self._keys.holds(organization_id, person_id)

    async def carry_out(self, organization_id: UUID, person_id: UUID) -> None:
        async with self._database.transaction() as connection:
            await self._keys.destroy(connection, organization_id, person_id)
            await connection.execute(
                "DELETE FROM identity WHERE organization_id = $1 AND person_id = $2", organization_id, person_id
            )
        self._tell(organization_id, person_id)

    async def react(self, events: Sequence[RecordedEvent]) -> None:
        for event in events:
            if isinstance(event.data, PersonErased):
                await self.carry_out(event.organization_id, event.data.person_id)
