"""`kafka provision`: the topics, before anybody writes to them."""

import logging

import typer

from okr_cli import words
from okr_cli.command import command
from okr_cli.failures import SetupError
from okr_cli.session import Session
from okr_cli.tables import Cell, Column, Row


def declare(app: typer.Typer) -> None:
    kafka = typer.Typer(no_args_is_help=True, help="The topics by which services hear of each other.")
    kafka.callback()(_group)
    command(kafka, "provision")(provision)
    app.add_typer(kafka, name="kafka")


def _group() -> None:
    """Keeps `provision` a word of its own while it is the only one."""


COLUMNS = (
    Column("topic", flexible=True),
    Column("partitions", align="right"),
    Column("replication", align="right"),
    Column(""),
)


async def provision(session: Session) -> None:
    """Make the topics of all services on the Kafka at OKR_KAFKA; any number of times.

    What is there already is checked and never changed. OKR_KAFKA_PARTITIONS (8) and OKR_KAFKA_REPLICATION (1) say how
    topics are cut and how many brokers keep each part; OKR_KAFKA_PREFIX (okr) is what their names begin with.
    """
    # Kafka's client takes a quarter of a second to import, which the other commands need not wait for.
    from okr_chassis.kafka import topics
    from okr_contracts.registry import EVENTS

    settings = session.settings
    if not settings.kafka:
        raise SetupError(
            "OKR_KAFKA is not set; name one broker or more, as in OKR_KAFKA=127.0.0.1:19092 (`make kafka` starts one)",
            reason="NO_KAFKA",
        )
    # What the client has to say about brokers that are away is told by our own error.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    provisioned = await topics.provision(
        settings.kafka,
        EVENTS,
        partitions=settings.kafka_partitions,
        replication=settings.kafka_replication,
        prefix=settings.kafka_prefix,
    )
    if session.output.as_json:
        document = {"kafka": list(settings.kafka), "topics": [each._asdict() for each in provisioned]}
        session.output.document(document)
        return
    rows = [
        Row(
            [
                each.topic,
                str(each.partitions),
                str(each.replication),
                Cell("made", "green") if each.created else Cell("was there", "dim"),
            ]
        )
        for each in provisioned
    ]
    session.output.table(COLUMNS, rows)
    session.output.say()
    made = sum(each.created for each in provisioned)
    session.output.say(
        f"{words.plural(len(provisioned), 'topic')} at {', '.join(settings.kafka)} as they should be, {made} made now.",
        style="green",
    )
