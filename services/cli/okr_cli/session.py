"""What every command has: its output, its settings, and the platform in the name of a person."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from okr.directory.v1.directory_pb2 import GetOrganizationRequest, ListPeopleRequest, Person
from okr_chassis.identity.issuer import DevelopmentIssuer
from okr_chassis.settings import Settings
from okr_cli.client import Client
from okr_cli.failures import RefusedError, SetupError
from okr_cli.identity import SAMPLE_ORGANIZATION, SAMPLE_PERSON, organization_id, person_id
from okr_cli.lookups import folded
from okr_cli.moments import HERE
from okr_cli.output import Output

DEVELOPMENT_KEY = "development-issuer.pem"
MOST_HANDLES_LISTED = 20


class Session:
    """One command's surroundings. Options given on the command line win over the environment."""

    def __init__(self, output: Output, handle: str | None = None, organization: str | None = None) -> None:
        self.output = output
        self.settings = Settings.load()
        self.token = os.environ.get("OKR_TOKEN", "").strip()
        if self.token and (handle or organization):
            raise SetupError("OKR_TOKEN says already who you are and where; unset it to use --as and --organization")
        handle = handle or os.environ.get("OKR_AS", "")
        organization = organization or os.environ.get("OKR_ORGANIZATION", "")
        self.handle_named, self.organization_named = bool(handle), bool(organization)
        self.organization = organization or SAMPLE_ORGANIZATION
        self.handle = handle or SAMPLE_PERSON

    @property
    def address(self) -> str:
        return f"{self.settings.grpc_host}:{self.settings.grpc_port}"

    @property
    def organization_id(self) -> UUID:
        return organization_id(self.organization)

    @staticmethod
    def now() -> datetime:
        """Now, where the command runs."""
        return datetime.now(HERE)

    def issuer(self) -> DevelopmentIssuer:
        """The issuer of the embedded platform. Raises SetupError where none has been."""
        if not (self.settings.data_dir / DEVELOPMENT_KEY).exists():
            raise SetupError(
                f"there is no development key in {self.settings.data_dir}; start the platform with `okr up`, set "
                "OKR_DATA_DIR to where it runs, or bring a token in OKR_TOKEN",
                reason="NO_TOKEN",
            )
        return DevelopmentIssuer(self.settings.data_dir, audience=self.settings.audience, env=self.settings.env)

    @asynccontextmanager
    async def client(self, operator: bool = False) -> AsyncIterator[Client]:
        """The platform, in the name of whoever runs the command."""
        if self.token:
            async with self.connected(self.token) as client:
                yield client
            return
        # An operator looks after the platform and need not belong to any organisation on it.
        token = self.stranger(operator=True) if operator else await self.issue()
        async with self.connected(token) as client:
            yield client

    @asynccontextmanager
    async def connected(self, token: str) -> AsyncIterator[Client]:
        async with Client(self.address, token, self.settings.peers) as client:
            await client.connect()
            yield client

    def stranger(self, operator: bool = False) -> str:
        """A token of somebody the organisation need not know (yet)."""
        organization = self.organization_id
        return self.issuer().issue(organization, person_id(organization, self.handle), operator=operator)

    async def issue(self, operator: bool = False) -> str:
        """A token for the person with our handle. Raises RefusedError naming the handles there are."""
        async with self.connected(self.stranger()) as client:
            person = await self.find(client)
            if person is None:
                await self.explain_unknown(client)
        assert person is not None, "explain_unknown always raises"
        return self.issuer().issue(self.organization_id, UUID(person.person_id), operator=operator)

    async def find(self, client: Client) -> Person | None:
        """Who we are: by handle, by name, or by the beginning of a handle (`ana` for `ana.ribeiro`).

        Where nobody said who we are, it is the first person of the organisation.
        """
        answer = await client.ask(client.directory.ListPeople, ListPeopleRequest(handle=self.handle))
        if answer.people:
            return answer.people[0]
        people = [
            person
            async for page in client.pages(client.directory.ListPeople, ListPeopleRequest())
            for person in page.people
            if not person.erased
        ]
        if self.handle_named:
            said = folded(self.handle)
            people = [each for each in people if folded(each.name) == said] or [
                each for each in people if each.handle.startswith(f"{said}.")
            ]
            person = people[0] if len(people) == 1 else None
        else:
            person = min(people, key=lambda each: each.handle, default=None)
        self.handle = person.handle if person else self.handle
        return person

    async def explain_unknown(self, client: Client) -> None:
        """Say why nobody has our handle: no such organisation, or others in it."""
        try:
            organization = await client.ask(client.directory.GetOrganization, GetOrganizationRequest())
        except RefusedError as error:
            if not error.reason.endswith("_NOT_FOUND"):
                raise
            told = (
                f"there is no organisation {self.organization!r} here; found it with "
                f"`okr import FILE --organization {self.organization!r}`"
                if self.organization_named
                else "the sample organisation is not here; name yours with --organization or OKR_ORGANIZATION"
            )
            raise RefusedError(told, reason=error.reason) from None
        handles: list[str] = []
        async for page in client.pages(client.directory.ListPeople, ListPeopleRequest()):
            handles += [person.handle for person in page.people if person.handle]
        known = ", ".join(sorted(handles)[:MOST_HANDLES_LISTED]) or "nobody"
        more = f" and {len(handles) - MOST_HANDLES_LISTED} more" if len(handles) > MOST_HANDLES_LISTED else ""
        raise RefusedError(
            f"nobody in {organization.organization.name} has the handle {self.handle!r}; known: {known}{more}",
            reason="PERSON_NOT_FOUND",
        )
