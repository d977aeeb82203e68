"""How commands are declared: a typed coroutine that is given a Session becomes a command of an app by `command`.

Every command has the options of `_COMMON`, runs its coroutine, and ends with one of the exit codes.
"""

import asyncio
import functools
import inspect
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from okr_chassis.startup import StartupError
from okr_cli.failures import EXIT_CODES, CommandError, RefusedError, SetupError
from okr_cli.output import Output
from okr_cli.session import Session

As = Annotated[
    str | None, typer.Option("--as", metavar="HANDLE", help="Who you are, by handle. Also OKR_AS.", show_default=False)
]
Organization = Annotated[
    str | None,
    typer.Option(
        "--organization", metavar="NAME", help="Which organisation. Also OKR_ORGANIZATION.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

_COMMON = (
    inspect.Parameter("as_handle", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=As),
    inspect.Parameter("organization", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Organization),
    inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json),
)
EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."

Action = TypeVar("Action", bound=Callable[..., Awaitable[None]])


def command(
    app: typer.Typer, name: str, context_settings: dict[str, Any] | None = None, serves: bool = False
) -> Callable[[Action], Action]:
    """Make a coroutine a command of `app`, with the common options and one way of failing.

    One that `serves` runs on uvloop; for the others its import would cost more than it gives.
    """

    def declare(action: Action) -> Action:
        hints = inspect.signature(action, eval_str=True)
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in hints.parameters.values()
            if parameter.name != "session"
        ]

        @functools.wraps(action)
        def run(**given: Any) -> None:
            common = {parameter.name: given.pop(parameter.name) for parameter in _COMMON}
            output = Output(as_json=common["as_json"])
            sys.exit(finish(output, lambda: _act(action, output, common, given, serves)))

        parameters = [*own, *_COMMON]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name, epilog=EPILOG, context_settings=context_settings)(run)
        return action

    return declare


def _act(
    action: Callable[..., Awaitable[None]], output: Output, common: dict[str, Any], given: dict[str, Any], serves: bool
) -> None:
    async def act() -> None:
        session = Session(output, handle=common["as_handle"], organization=common["organization"])
        await action(session, **given)

    (uvloop.run if serves else asyncio.run)(act())


def finish(output: Output, work: Callable[[], None]) -> int:
    """Run a command to its end and give its exit code. Foreseen failures become one line, never a traceback."""
    try:
        work()
    except CommandError as error:
        output.fail(error)
        return error.exit_code
    except StartupError as error:
        output.fail(SetupError(str(error)))
        return SetupError.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except BrokenPipeError:
        # The reader of our pipe has had enough (`okr events tail | head`). What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("OKR_DEBUG"):
            raise
        told = f"something went wrong that nobody foresaw ({type(error).__name__}: {error}); OKR_DEBUG=1 shows where"
        output.fail(RefusedError(told, reason="UNFORESEEN"))
        return RefusedError.exit_code
    return 0
