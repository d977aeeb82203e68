"""The `okr` command: its groups and what its help says."""

import typer

from okr_cli.command import EPILOG
from okr_cli.commands import (
    checking_in,
    cycling,
    database,
    doctoring,
    events,
    grading,
    importing,
    kafka,
    keeping_rhythm,
    keys,
    operating,
    people,
    practising,
    reading,
    sampling,
    simulating,
    starting,
    status,
    templates,
    tokens,
)

HELP = """Objectives and key results, with a history of every number.

Start a platform with `okr up`, then try `okr board`. Commands act for OKR_AS (a handle) in
OKR_ORGANIZATION, or for whoever OKR_TOKEN names; they call OKR_GRPC_HOST:OKR_GRPC_PORT.
"""


def build() -> typer.Typer:
    """The command with all its commands, in the order people meet them."""
    app = typer.Typer(
        name="okr",
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for topic in (
        starting,
        tokens,
        importing,
        reading,
        checking_in,
        keeping_rhythm,
        practising,
        templates,
        cycling,
        grading,
        events,
        people,
        operating,
        kafka,
        database,
        keys,
        sampling,
        simulating,
        status,
        doctoring,
    ):
        topic.declare(app)
    return app
