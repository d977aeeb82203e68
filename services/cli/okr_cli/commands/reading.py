"""`board`, `history`, `tree` and `inbox`: what is, and what was known at any moment."""

from collections.abc import Collection
from typing import Annotated

import typer

from okr.alignment.v1.alignment_pb2 import GetTreeRequest
from okr.insights.v1.insights_pb2 import BoardObjective, GetBoardRequest, GetKeyResultHistoryRequest, HistoryEntry
from okr.notifications.v1.notifications_pb2 import ListInboxRequest
from okr_cli import lookups, moments, views, words
from okr_cli.client import Client
from okr_cli.command import command
from okr_cli.commands import cycling
from okr_cli.failures import SetupError
from okr_cli.output import Output
from okr_cli.session import Session

AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="MOMENT",
        help="What was known then: 2026-03-31, 2026-03-31T14:00, '4 weeks ago', yesterday.",
        show_default=False,
    ),
]
KeyResult = Annotated[
    str, typer.Argument(metavar="KR", help="A key result: its id, the beginning of it, or words of its title.")
]


def declare(app: typer.Typer) -> None:
    command(app, "board")(board)
    command(app, "history")(history)
    command(app, "tree")(tree)
    command(app, "inbox")(inbox)


async def board(
    session: Session,
    as_of: AsOf = None,
    department: Annotated[
        str | None,
        typer.Option("--department", metavar="NAME", help="Only this one and all below it.", show_default=False),
    ] = None,
    cycle: Annotated[
        str | None,
        typer.Option("--cycle", metavar="CYCLE", help="This one; the running one when left out.", show_default=False),
    ] = None,
    at_the_end: Annotated[
        bool, typer.Option("--at-the-end", help="Exactly what was known when the CYCLE was closed.")
    ] = False,
) -> None:
    """Show every objective with its progress, its pace and its key results.

    Confidence is shown from 0 to 10; "seen" is the age of the last value.
    """
    request = GetBoardRequest(as_of=_as_of(session, as_of), as_of_cycle_end=at_the_end)
    if at_the_end and (cycle is None or as_of):
        raise SetupError("say whose end is meant, --cycle CYCLE, and leave out --as-of", reason="CYCLE_MISSING")
    async with session.client() as client:
        if cycle:
            request.cycle_id = (await cycling.meant(client, cycle)).cycle_id
        if department:
            request.unit_id = await lookups.department(client, department)
        await show_board(client, session.output, request)


async def show_board(client: Client, output: Output, request: GetBoardRequest) -> None:
    """Ask for a board and print it."""
    found = await lookups.board_of(client, request)
    names = await lookups.people(client, _people(found.objectives))
    if output.as_json:
        output.document(views.board_document(found, names))
        return
    then = words.minute(found.as_of)
    when = f", as known on {then}" if request.as_of or request.as_of_cycle_end else ""
    cycle = f"{found.cycle_name} ({found.cycle_starts_on} to {found.cycle_ends_on})" if found.cycle_id else "no cycle"
    output.say(f"{found.organization_name or 'Not founded yet'}: {cycle}{when}", style="bold")
    if not found.objectives:
        output.say("No objectives here yet." if not request.as_of else "Nothing was known here then.")
        return
    output.say()
    output.table(views.BOARD_COLUMNS, views.board_rows(found, names, words.moment(found.as_of) or Session.now()))


async def history(session: Session, key_result: KeyResult, as_of: AsOf = None) -> None:
    """Show all that happened to a key result, the newest first.

    "known" is when the platform learned of it, "true" when it was so, where that differs.
    """
    moment = _as_of(session, as_of)
    async with session.client() as client:
        identifier = await lookups.key_result(client, key_result)
        request = GetKeyResultHistoryRequest(key_result_id=identifier, as_of=moment)
        entries: list[HistoryEntry] = []
        each = None
        async for page in client.pages(client.insights.GetKeyResultHistory, request):
            each = each or page.key_result
            entries += page.entries
        assert each is not None, "a list has at least one page"
        who = {entry.person_id for entry in entries} | {entry.champion_id for entry in entries}
        names = await lookups.people(client, who | {each.accountable_id})
    if session.output.as_json:
        session.output.document(
            {
                "key_result": views.key_result_document(each, names),
                "entries": [views.entry_document(entry, names) for entry in entries],
            }
        )
        return
    session.output.say(each.title, style="bold")
    session.output.say(views.standing(each))
    promised = ", ".join(part for part in (views.marks(each), f"due {each.due_on}") if part)
    session.output.say(f"{promised}; accountable: {views.name_of(names, each.accountable_id)}")
    session.output.say()
    session.output.table(views.HISTORY_COLUMNS, views.history_rows(each, entries, names))


async def tree(session: Session, as_of: AsOf = None) -> None:
    """Show which objective contributes to which."""
    moment = _as_of(session, as_of)
    async with session.client() as client:
        found = await lookups.board_of(client, GetBoardRequest(as_of=moment))
        parents = {objective.objective_id: objective.parent_objective_id for objective in found.objectives}
        if found.cycle_id and not moment:
            # The alignment service itself knows best; the board tells how it was.
            async for page in client.pages(client.alignment.GetTree, GetTreeRequest(cycle_id=found.cycle_id)):
                parents |= {edge.objective_id: edge.parent_objective_id for edge in page.edges}
        names = await lookups.people(client, {objective.owner_id for objective in found.objectives})
    if session.output.as_json:
        session.output.document(
            {
                "organization": found.organization_name,
                "cycle_id": found.cycle_id,
                "as_of": found.as_of,
                "objectives": views.tree_document(found.objectives, parents, names),
            }
        )
        return
    session.output.say(f"{found.organization_name}: {found.cycle_name or 'no cycle'}", style="bold")
    session.output.say()
    session.output.table(views.TREE_COLUMNS, views.tree_rows(found.objectives, parents, names))


async def inbox(session: Session) -> None:
    """Show what you should hear of, the newest first."""
    async with session.client() as client:
        found = [
            each
            async for page in client.pages(client.notifications.ListInbox, ListInboxRequest())
            for each in page.notifications
        ]
    if session.output.as_json:
        session.output.document({"notifications": [views.notification_document(each) for each in found]})
    elif not found:
        session.output.say("Nothing to tell you.")
    else:
        session.output.table(views.INBOX_COLUMNS, views.inbox_rows(found))


def _as_of(session: Session, said: str | None) -> str:
    return words.rfc3339(moments.moment(said, session.now())) if said else ""


def _people(objectives: Collection[BoardObjective]) -> set[str]:
    return {objective.owner_id for objective in objectives} | {
        each.accountable_id for objective in objectives for each in objective.key_results
    }
