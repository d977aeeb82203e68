"""`check-in` and `correct`: the value of a key result now, or put right later."""

from typing import Annotated, Any
from uuid import uuid4

import typer
from grpc import aio

from okr.checkins.v1.checkins_pb2 import (
    CheckIn,
    CorrectCheckInRequest,
    ListCheckInsRequest,
    RecordCheckInRequest,
)
from okr.insights.v1.insights_pb2 import BoardKeyResult, GetKeyResultHistoryRequest
from okr_cli import entries, lookups, moments, views, words
from okr_cli.client import Change, Client, Response
from okr_cli.command import command
from okr_cli.commands.reading import KeyResult
from okr_cli.failures import CommandError, RefusedError, SetupError, TryAgainError
from okr_cli.session import Session

NEGATIVE_VALUES = {"ignore_unknown_options": True}
"""Lets `okr check-in margin -3` mean the number."""

BOARD_SECONDS = 3.0
"""How long whoever has recorded something waits to see it on the board."""

Confidence = Annotated[
    str | None,
    typer.Option(
        "--confidence",
        metavar="0.0-1.0",
        help="How likely the target is: 0.7, 70% or 7. As last time when left out.",
        show_default=False,
    ),
]
Note = Annotated[
    str, typer.Option("--note", metavar="TEXT", help="What happened, what comes next.", show_default=False)
]


RequestId = Annotated[
    str | None,
    typer.Option(
        "--request-id",
        metavar="ID",
        help="Of an earlier try whose outcome is unknown; it is then done once.",
        show_default=False,
    ),
]


def declare(app: typer.Typer) -> None:
    command(app, "check-in", NEGATIVE_VALUES)(check_in)
    command(app, "correct", NEGATIVE_VALUES)(correct)


async def check_in(
    session: Session,
    key_result: KeyResult,
    value: Annotated[
        str | None,
        typer.Argument(metavar="VALUE", help="Its value, in its own unit; of a milestone how much of it is done."),
    ] = None,
    confidence: Confidence = None,
    note: Note = "",
    milestone: Annotated[
        str | None,
        typer.Option(
            "--milestone",
            metavar="WORDS",
            help="Which milestone is reported, by words of its title; all of it when VALUE is left out.",
            show_default=False,
        ),
    ] = None,
    accepted: Annotated[
        bool, typer.Option("--accepted", help="Somebody has looked at the milestone and takes it as done.")
    ] = False,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="DATE", help="When it was so: 2026-03-31, yesterday, '3 days ago'.", show_default=False
        ),
    ] = None,
    request_id: RequestId = None,
) -> None:
    """Record the value of a key result."""
    if value is None and milestone is None:
        raise SetupError("nothing to record: give a VALUE, or say which --milestone", reason="NOTHING_TO_RECORD")
    if accepted and milestone is None:
        raise SetupError("what is accepted is a milestone: say which, with --milestone", reason="MILESTONE_MISSING")
    request_id = request_id or str(uuid4())
    request = RecordCheckInRequest(
        request_id=request_id,
        check_in_id=request_id,
        value=entries.value(value) if value is not None and milestone is None else "",
        confidence=entries.confidence(confidence) if confidence else "",
        note=note,
    )
    if on:
        now = session.now()
        when = moments.moment(on, now, moments.noon_of)
        request.occurred_at = "" if when == now else words.rfc3339(when)
    async with session.client() as client:
        request.key_result_id = await lookups.key_result(client, key_result)
        if milestone is not None:
            request.milestone.milestone_id = await lookups.milestone(client, request.key_result_id, milestone)
            request.milestone.share = entries.share(value) if value is not None else ""
            request.milestone.accepted = accepted
        answer = await _once(client, client.check_ins.RecordCheckIn, request)
        position = answer.receipt.position
        standing = await _standing(client, request.key_result_id, position)
        done = {"check_in_id": request.check_in_id, "key_result_id": request.key_result_id, "position": position}
        await _tell(session, client, "Recorded.", done, standing)


async def correct(
    session: Session,
    key_result: KeyResult,
    value: Annotated[
        str | None, typer.Argument(metavar="[VALUE]", help="The right value. It stays when left out.")
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why the first one was wrong.", show_default=False)
    ] = "",
    confidence: Confidence = None,
    note: Note = "",
    check_in: Annotated[
        str | None,
        typer.Option("--check-in", metavar="ID", help="Which one, as `okr history` shows. The latest when left out."),
    ] = None,
    request_id: RequestId = None,
) -> None:
    """Put a check-in right. The first one stays in history."""
    if not reason.strip():
        raise SetupError("a correction says why: --reason TEXT", reason="REASON_MISSING")
    if value is None and confidence is None and not note:
        raise SetupError("nothing to put right: give a VALUE, --confidence or --note", reason="NOTHING_TO_CORRECT")
    request = CorrectCheckInRequest(
        request_id=request_id or str(uuid4()),
        value=entries.value(value) if value is not None else "",
        confidence=entries.confidence(confidence) if confidence else "",
        note=note,
        reason=reason,
    )
    async with session.client() as client:
        request.key_result_id = await lookups.key_result(client, key_result)
        request.check_in_id = await _check_in_meant(client, request.key_result_id, check_in)
        answer = await _once(client, client.check_ins.CorrectCheckIn, request)
        position = answer.receipt.position
        standing = await _standing(client, request.key_result_id, position)
        done = {"check_in_id": request.check_in_id, "key_result_id": request.key_result_id, "position": position}
        await _tell(session, client, "Corrected.", done, standing)


async def _once(client: Client, method: "aio.UnaryUnaryMultiCallable[Change, Response]", request: Change) -> Response:
    """The answer to a command. Without one nobody knows whether it was done, and the next try must be the same."""
    try:
        return await client.tell(method, request)
    except TryAgainError as error:
        raise TryAgainError(
            f"{error.message} with --request-id {request.request_id}, for it may have been done", reason=error.reason
        ) from None


async def _check_in_meant(client: Client, key_result_id: str, said: str | None) -> str:
    known: list[CheckIn] = [
        each
        async for page in client.pages(client.check_ins.ListCheckIns, ListCheckInsRequest(key_result_id=key_result_id))
        for each in page.check_ins
    ]
    if not known:
        raise RefusedError("this key result has no check-in yet", reason="CHECK_IN_NOT_FOUND")
    if said is None:
        return max(known, key=lambda each: (each.occurred_at, each.recorded_at)).check_in_id
    titled = [(each.check_in_id, f"{each.value} on {words.day(each.occurred_at)}") for each in known]
    return lookups.chosen(titled, said, "check-in")


async def _standing(client: Client, key_result_id: str, position: str) -> BoardKeyResult | None:
    """Where the key result stands now. The command is done already, so a late read model is no failure."""
    request = GetKeyResultHistoryRequest(key_result_id=key_result_id, min_positions=[position])
    request.page.size = 1
    try:
        return (
            await client.ask(client.insights.GetKeyResultHistory, request, patience_seconds=BOARD_SECONDS)
        ).key_result
    except TryAgainError:
        return None


async def _tell(
    session: Session, client: Client, word: str, done: dict[str, str], standing: BoardKeyResult | None
) -> None:
    if session.output.as_json:
        names: dict[str, str] = {}
        if standing is not None:
            try:
                names = await lookups.people(client, [standing.accountable_id])
            except CommandError:
                names = {}  # the check-in is done; a name that cannot be looked up must not say otherwise
        document: dict[str, Any] = dict(done)
        document["key_result"] = views.key_result_document(standing, names) if standing is not None else None
        session.output.document(document)
    elif standing is None:
        session.output.say(f"{word} The board follows in a moment.", style="green")
    else:
        session.output.say(f"{word} {standing.title}: {views.standing(standing)}.", style="green")
