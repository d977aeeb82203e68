"""From what people say to ids, and back: key results by words, departments and people by name."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from uuid import UUID

from okr.directory.v1.directory_pb2 import ListPeopleRequest, ListUnitsRequest, Unit
from okr.goals.v1.goals_pb2 import GetKeyResultRequest
from okr.insights.v1.insights_pb2 import BoardObjective, GetBoardRequest, GetBoardResponse
from okr_cli.client import Client
from okr_cli.failures import RefusedError

SHORTEST_PREFIX = 4
SHOWN_ID = 8
"""Characters of an id that tables show at least."""
MOST_CANDIDATES = 10
PEOPLE_PER_CALL = 500


def folded(text: str) -> str:
    """Text without case and accents, to compare by."""
    return "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))


async def board_of(client: Client, request: GetBoardRequest) -> GetBoardResponse:
    """The whole board: all pages in one answer."""
    whole: GetBoardResponse | None = None
    async for page in client.pages(client.insights.GetBoard, request):
        if whole is None:
            whole = page
        else:
            whole.objectives.extend(page.objectives)
    assert whole is not None, "a list has at least one page"
    whole.next_page_token = ""
    return whole


async def key_result(client: Client, said: str) -> str:
    """The id of the key result that is meant. Raises RefusedError with the candidates when it is not clear."""
    said = said.strip()
    if len(said) == 36 and _is_id(said):
        return said.lower()
    board = await board_of(client, GetBoardRequest())
    known = [(each.key_result_id, each.title) for objective in board.objectives for each in objective.key_results]
    return chosen(known, said, "key result")


async def objective(client: Client, said: str) -> tuple[BoardObjective, str]:
    """The objective on the board that is meant, and its cycle's id."""
    board = await board_of(client, GetBoardRequest())
    known = [(each.objective_id, each.title) for each in board.objectives]
    wanted = chosen(known, said.strip(), "objective")
    return next(each for each in board.objectives if each.objective_id == wanted), board.cycle_id


async def person(client: Client, handle: str) -> str:
    """The id of the person with a handle."""
    answer = await client.ask(client.directory.ListPeople, ListPeopleRequest(handle=handle))
    if not answer.people:
        raise RefusedError(f"nobody has the handle {handle!r}", reason="PERSON_NOT_FOUND")
    return answer.people[0].person_id


async def milestone(client: Client, key_result_id: str, said: str) -> str:
    """The id of the milestone of a key result that is meant."""
    answer = await client.ask(client.goals.GetKeyResult, GetKeyResultRequest(key_result_id=key_result_id))
    known = [(each.milestone_id, each.title) for each in answer.key_result.measurement.milestones]
    if not known:
        raise RefusedError(
            f"{answer.key_result.title!r} is not made of milestones; give its value", reason="NO_MILESTONES"
        )
    return chosen(known, said, "milestone")


def chosen(known: Sequence[tuple[str, str]], said: str, kind: str) -> str:
    """The one id of (id, title) pairs that is meant by an id's beginning, or by words of the title."""
    matches: list[tuple[str, str]] = []
    if re.fullmatch(rf"[0-9a-fA-F-]{{{SHORTEST_PREFIX},36}}", said):
        matches = [each for each in known if each[0].startswith(said.lower())]
    if not matches:
        wanted = folded(said)
        matches = [each for each in known if folded(each[1]) == wanted]
        if not matches and wanted:
            matches = [each for each in known if all(word in folded(each[1]) for word in wanted.split())]
    if len(matches) == 1:
        return matches[0][0]
    if not matches:
        raise RefusedError(
            f"no {kind} on the board matches {said!r}; `okr board` shows titles and ids",
            reason=f"{kind.upper().replace(' ', '_')}_NOT_FOUND",
        )
    shown = short_ids([each[0] for each in known])
    raise RefusedError(
        f"{said!r} fits {len(matches)} {kind}s; say more of the title, or the id:",
        reason="AMBIGUOUS",
        details=[f"{shown[identifier]}  {title}" for identifier, title in matches[:MOST_CANDIDATES]]
        + ([f"and {len(matches) - MOST_CANDIDATES} more"] if len(matches) > MOST_CANDIDATES else []),
    )


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def short_ids(identifiers: Iterable[str]) -> dict[str, str]:
    """Each id's shortest beginning that tells it from the others, at least eight characters."""
    found = sorted(set(identifiers))
    length = SHOWN_ID
    while length < 36 and len({identifier[:length] for identifier in found}) < len(found):
        length += 1
    return {identifier: identifier[:length] for identifier in found}


async def people(client: Client, identifiers: Iterable[str]) -> dict[str, str]:
    """Names by id, asked for in one go. Who is unknown stays without; who was erased is called so."""
    wanted = sorted({identifier for identifier in identifiers if identifier})
    names: dict[str, str] = {}
    for start in range(0, len(wanted), PEOPLE_PER_CALL):
        request = ListPeopleRequest(person_ids=wanted[start : start + PEOPLE_PER_CALL])
        async for page in client.pages(client.directory.ListPeople, request):
            names |= {person.person_id: person.name or person.handle for person in page.people}
    return names


async def units(client: Client) -> list[Unit]:
    return [unit async for page in client.pages(client.directory.ListUnits, ListUnitsRequest()) for unit in page.units]


async def department(client: Client, said: str) -> str:
    """The id of a department or team by its name or part of it."""
    known = [(unit.unit_id, unit.name) for unit in await units(client)]
    try:
        return chosen(known, said, "department")
    except RefusedError as error:
        if error.reason == "AMBIGUOUS":
            raise
        names = ", ".join(sorted(name for _, name in known)) or "none yet"
        raise RefusedError(f"there is no department {said!r}; known: {names}", reason="UNIT_NOT_FOUND") from None
