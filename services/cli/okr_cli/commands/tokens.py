"""`token`: who you are, in the form that other programs can carry."""

from typing import Annotated, Any

import typer

from okr_cli.command import command
from okr_cli.failures import SetupError
from okr_cli.session import Session


def declare(app: typer.Typer) -> None:
    command(app, "token")(token)


async def token(
    session: Session,
    operator: Annotated[bool, typer.Option("--operator", help="Also for verify, rebuild, parked and doctor.")] = False,
) -> None:
    """Print a development token for a person, valid for twelve hours.

    For gRPC clients: metadata `authorization: Bearer TOKEN`. Refused when OKR_ENV=production.
    """
    if session.token:
        raise SetupError("OKR_TOKEN holds a token already; unset it to have one made")
    made = await session.issue(operator)
    document: dict[str, Any] = {
        "token": made,
        "organization_id": str(session.organization_id),
        "handle": session.handle,
        "operator": operator,
    }
    if session.output.as_json:
        session.output.document(document)
    else:
        session.output.say(made)
