"""`person erase`: to forget somebody who asks for it."""

from typing import Annotated
from uuid import UUID

import typer

from okr.directory.v1.directory_pb2 import ErasePersonRequest, ListPeopleRequest, Person
from okr_cli.client import Client
from okr_cli.command import command
from okr_cli.failures import RefusedError, SetupError
from okr_cli.session import Session


def declare(app: typer.Typer) -> None:
    people = typer.Typer(no_args_is_help=True, help="Look after people's data.")
    command(people, "erase")(erase)
    app.add_typer(people, name="person")


async def erase(
    session: Session,
    handle: Annotated[str, typer.Argument(metavar="HANDLE", help="Whom, by handle or id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it. There is no way back.")] = False,
) -> None:
    """Erase a person: their name, and all they wrote, for ever. Numbers and titles stay."""
    async with session.client(operator=True) as client:
        person = await _meant(client, handle.strip())
        shown = person.name or person.handle or person.person_id
        if not yes:
            raise SetupError(
                f"erasing {shown} deletes their name and e-mail and makes all they wrote unreadable, for ever; "
                "numbers and titles stay. Say --yes to do it",
                reason="NOT_CONFIRMED",
            )
        answer = await client.tell(client.directory.ErasePerson, ErasePersonRequest(person_id=person.person_id))
    if session.output.as_json:
        session.output.document({"person_id": person.person_id, "position": answer.receipt.position})
    else:
        session.output.say(f"Erased. What {shown} wrote can be read by nobody any more.", style="green")


async def _meant(client: Client, said: str) -> Person:
    """By handle; by id also somebody without one, who was never registered or is to be erased to the end."""
    answer = await client.ask(client.directory.ListPeople, ListPeopleRequest(handle=said))
    if answer.people:
        return answer.people[0]
    try:
        person_id = str(UUID(said))
    except ValueError:
        raise RefusedError(f"nobody here has the handle {said!r}", reason="PERSON_NOT_FOUND") from None
    answer = await client.ask(client.directory.ListPeople, ListPeopleRequest(person_ids=[person_id]))
    return answer.people[0] if answer.people else Person(person_id=person_id)
