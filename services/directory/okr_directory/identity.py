"""Who people are: names, handles and e-mails, in rows that can be deleted. The log never sees them."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel

from okr_chassis.rpc.fields import Id, Name, OptionalId, optional_text, text
from okr_eventstore.database import Database

HANDLE_LENGTH = 64
EMAIL_LENGTH = 254
ABANDONED_AFTER_SECONDS = 120
"""A claim without a person in the log is an attempt in flight until then; calls end long before."""
CLAIM_TRIES = 3
"""Others may claim and release the same handle meanwhile."""


def _handle(value: str) -> str:
    folded = value.casefold()
    if not all(part.isalnum() or part in "._-" for part in folded):
        raise ValueError("must consist of letters, digits, dots, hyphens and underscores")
    return folded


def _email(value: str | None) -> str:
    if value and (value.count("@") != 1 or value.startswith("@") or value.endswith("@") or " " in value):
        raise ValueError("must be an e-mail address such as ana@example.org, or empty")
    return value or ""


Handle = Annotated[str, text(HANDLE_LENGTH), AfterValidator(_handle)]
Email = Annotated[str | None, optional_text(EMAIL_LENGTH), AfterValidator(_email)]

Claim = Literal["claimed", "held", "differs", "handle_taken"]


class RegisterPerson(BaseModel, frozen=True):
    """Somebody joins: what the log may know of it, and what only this service's own rows may."""

    person_id: Id
    handle: Handle
    name: Name
    email: Email = ""
    unit_id: OptionalId = None


class Identities:
    """The table `identity`. `registered` says whether the log knows a person of the caller's organisation."""

    def __init__(self, database: Database, registered: Callable[[UUID], Awaitable[bool]]) -> None:
        self._database = database
        self._registered = registered

    async def claim(self, organization_id: UUID, wanted: RegisterPerson) -> Claim:
        """Take the handle before the person enters the log, so that two never get the same one.

        "claimed" is a new row, to be released if the log refuses; "held" was there before, the same.
        A row that no event followed stands in nobody's way: its own person's next attempt replaces
        it at once, anybody else's when it is old enough to be nobody's attempt any more.
        """
        for _ in range(CLAIM_TRIES):
            if await self._insert(organization_id, wanted):
                return "claimed"
            own = await self._database.fetchrow(
                "SELECT handle, name, email FROM identity WHERE organization_id = $1 AND person_id = $2",
                organization_id,
                wanted.person_id,
            )
            if own is not None and tuple(own) == (wanted.handle, wanted.name, wanted.email):
                return "held"
            if own is not None and await self._registered(wanted.person_id):
                return "differs"
            if own is not None:
                await self.release(organization_id, wanted.person_id)
                continue
            if not await self._drop_abandoned(organization_id, wanted.handle):
                return "handle_taken"
        return "handle_taken"

    async def release(self, organization_id: UUID, person_id: UUID) -> None:
        """Forget a claim that led to nothing. Somebody whom the log knows keeps their row."""
        if not await self._registered(person_id):
            await self._database.execute(
                "DELETE FROM identity WHERE organization_id = $1 AND person_id = $2", organization_id, person_id
            )

    async def _insert(self, organization_id: UUID, wanted: RegisterPerson) -> bool:
        inserted: Any = await self._database.fetchval(
            """INSERT INTO identity (organization_id, person_id, handle, name, email) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT DO NOTHING RETURNING true""",
            organization_id,
            wanted.person_id,
            wanted.handle,
            wanted.name,
            wanted.email,
        )
        return inserted is not None

    async def _drop_abandoned(self, organization_id: UUID, handle: str) -> bool:
        """Whether the handle may be free now: its holder is gone, or was never registered and left it long ago."""
        holder = await self._database.fetchrow(
            """SELECT person_id, claimed_at < now() - make_interval(secs => $3) AS old
                 FROM identity WHERE organization_id = $1 AND handle = $2""",
            organization_id,
            handle,
            float(ABANDONED_AFTER_SECONDS),
        )
        if holder is None:
            return True
        if not holder["old"] or await self._registered(holder["person_id"]):
            return False
        await self.release(organization_id, holder["person_id"])
        return True
