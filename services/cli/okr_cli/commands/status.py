"""`status`: the platform at a glance, for those who run it."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import typer
from grpc import RpcError, StatusCode

from okr.operations.v1.operations_pb2 import GetStatusRequest, GetStatusResponse
from okr_chassis.rpc.errors import refusal_of
from okr_cli import words
from okr_cli.client import Client, Process, failure
from okr_cli.command import command
from okr_cli.failures import SetupError
from okr_cli.session import Session
from okr_cli.tables import Cell, Column, Row

Item = TypeVar("Item")

ANSWER_SECONDS = 10.0

PROCESS_COLUMNS = (
    Column("process"),
    Column("services", flexible=True),
    Column("release", drop=1),
    Column("state", flexible=True),
)
CONSUMER_COLUMNS = (
    Column("service"),
    Column("consumer"),
    Column("hears"),
    Column("behind", align="right"),
    Column("parked", align="right"),
    Column("gaps", align="right", drop=2),
    Column("repeats", align="right", drop=2),
    Column("retries", align="right", drop=1),
    Column("state", flexible=True),
)
LOG_COLUMNS = (
    Column("log of"),
    Column("events", align="right"),
    Column("not in Kafka", align="right"),
    Column("published", align="right", drop=1),
    Column("partitions", align="right", drop=1),
    Column("state", flexible=True),
)


class Told(NamedTuple):
    """One process and what it said; `fault` says why it said nothing."""

    process: Process
    status: GetStatusResponse
    fault: str = ""


def declare(app: typer.Typer) -> None:
    command(app, "status")(status)


async def status(session: Session) -> None:
    """Show at a glance who is ready, how far consumers and Kafka are behind, what is parked and what has halted."""
    token = session.token or session.stranger(operator=True)
    async with Client(session.address, token, session.settings.peers) as client:
        told = await asyncio.gather(*(_ask(client, process) for process in client.copies()))
    if all(each.fault for each in told):
        raise SetupError(
            f"{told[0].process.address}: {told[0].fault}; start the platform with `okr up`, or say where it is with "
            "OKR_GRPC_HOST and OKR_GRPC_PORT, or OKR_PEERS__NAME for each service",
            reason="NOT_REACHABLE",
        )
    found = Found(list(told))
    if session.output.as_json:
        session.output.document(found.document())
        return
    say, table = session.output.say, session.output.table
    say(found.bus_line(), style="" if found.bus_is_well else "bold red")
    say()
    table(PROCESS_COLUMNS, [_process_row(each) for each in told])
    say()
    table(CONSUMER_COLUMNS, [each.row() for each in found.consumers])
    say()
    table(LOG_COLUMNS, [each.row() for each in found.logs])
    say()
    if found.well:
        say("All is well.", style="green")
    else:
        say("Not all is well; docs/operations.md says what to do.", style="bold red")


async def _ask(client: Client, process: Process) -> Told:
    """Once, and not for long: one that does not answer is what somebody wants to see here."""
    call = process.operations.GetStatus(GetStatusRequest(), metadata=client.metadata, timeout=ANSWER_SECONDS)
    try:
        return Told(process, await call)
    except RpcError as error:
        refusal = refusal_of(error)
        silent = refusal.code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED)
        return Told(process, GetStatusResponse(), "does not answer" if silent else failure(refusal).message)


class Consumer(NamedTuple):
    """A consumer over all its copies: what is behind adds up, since each has shards of its own."""

    copies: list[GetStatusResponse.ConsumerStatus]

    @property
    def lag_unknown(self) -> bool:
        return any(each.lag_unknown for each in self.copies)

    @property
    def lag_events(self) -> int:
        return sum(each.lag_events for each in self.copies)

    @property
    def halted(self) -> bool:
        return any(each.halted for each in self.copies)

    @property
    def reason(self) -> str:
        return "; ".join(dict.fromkeys(each.reason for each in self.copies if each.reason))

    @property
    def well(self) -> bool:
        return not (self.halted or self.reason or self.total("parked_streams"))

    def total(self, field: str) -> int:
        return sum(getattr(each, field) for each in self.copies)

    def row(self) -> Row:
        first, parked = self.copies[0], self.total("parked_streams")
        return Row(
            [
                first.service,
                first.consumer,
                first.source,
                "?" if self.lag_unknown else words.number(str(self.lag_events)),
                Cell(str(parked), "bold red" if parked else ""),
                *(words.number(str(self.total(field))) for field in ("gaps", "duplicates", "retries")),
                _state("halted" if self.halted else "", self.reason, "applies events"),
            ]
        )

    def document(self) -> dict[str, Any]:
        first = self.copies[0]
        return {
            "service": first.service,
            "consumer": first.consumer,
            "source": first.source,
            "lag_events": None if self.lag_unknown else self.lag_events,
            "halted": self.halted,
            "reason": self.reason or None,
            **{field: self.total(field) for field in ("parked_streams", "gaps", "duplicates", "retries", "zombies")},
        }


class Log(NamedTuple):
    """A service's log, and how far Kafka has it: every copy of the relay knows the same lag."""

    log: GetStatusResponse.LogStatus
    relays: list[GetStatusResponse.RelayStatus]

    @property
    def lag_events(self) -> int | None:
        known = [each.lag_events for each in self.relays if not each.lag_unknown]
        return max(known) if known else None

    @property
    def reason(self) -> str:
        return "; ".join(dict.fromkeys(f"{each.reason}: {each.message}" for each in self.relays if each.reason))

    @property
    def well(self) -> bool:
        return not self.reason

    def row(self) -> Row:
        if not self.relays:
            return Row([self.log.service, words.number(str(self.log.events)), "", "", "", Cell("", "")])
        return Row(
            [
                self.log.service,
                words.number(str(self.log.events)),
                "?" if self.lag_events is None else words.number(str(self.lag_events)),
                words.number(str(sum(each.published_events for each in self.relays))),
                str(sum(each.partitions for each in self.relays)),
                _state("", self.reason, "is carried to Kafka"),
            ]
        )

    def document(self) -> dict[str, Any]:
        return {
            "service": self.log.service,
            "events": self.log.events,
            "relay": {
                "lag_events": self.lag_events,
                "published_events": sum(each.published_events for each in self.relays),
                "partitions": sum(each.partitions for each in self.relays),
                "rewinds": sum(each.rewinds for each in self.relays),
                "takeovers": sum(each.takeovers for each in self.relays),
                "fenced": sum(each.fenced for each in self.relays),
                "reason": self.reason or None,
            }
            if self.relays
            else None,
        }


class Found:
    """What all processes told, put together."""

    def __init__(self, told: list[Told]) -> None:
        self.told = told
        answers = [each.status for each in told if not each.fault]
        consumers = (consumer for answer in answers for consumer in answer.consumers)
        self.consumers = [
            Consumer(copies) for copies in _grouped(consumers, lambda each: (each.service, each.consumer))
        ]
        relays = [relay for answer in answers for relay in answer.relays]
        logs = (log for answer in answers for log in answer.logs)
        self.logs = [
            Log(copies[0], [relay for relay in relays if relay.service == copies[0].service])
            for copies in _grouped(logs, lambda each: each.service)
        ]
        self.buses = [answer.bus for answer in answers]

    @property
    def bus_is_well(self) -> bool:
        return all(bus.reachable for bus in self.buses)

    @property
    def well(self) -> bool:
        processes = all(each.status.ready and not each.fault for each in self.told)
        consumers, logs = all(each.well for each in self.consumers), all(each.well for each in self.logs)
        return processes and self.bus_is_well and consumers and logs

    def bus_line(self) -> str:
        if not any(bus.kind == "kafka" for bus in self.buses):
            return "Services hear of each other from their logs in PostgreSQL."
        servers = ", ".join(dict.fromkeys(server for bus in self.buses for server in bus.servers))
        problems = "; ".join(dict.fromkeys(bus.problem for bus in self.buses if bus.problem))
        return f"Kafka at {servers}: {problems or 'answers'}."

    def document(self) -> dict[str, Any]:
        first = self.buses[0] if self.buses else GetStatusResponse.BusStatus()
        return {
            "well": self.well,
            "processes": [
                {
                    "address": each.process.address,
                    "services": list(each.process.services),
                    "release": each.status.version or None,
                    "ready": each.status.ready,
                    "not_ready_because": [each.fault] if each.fault else list(each.status.not_ready_because),
                }
                for each in self.told
            ],
            "bus": {
                "kind": first.kind or None,
                "servers": list(first.servers),
                "reachable": self.bus_is_well,
                "problem": next((bus.problem for bus in self.buses if bus.problem), None),
            },
            "consumers": [each.document() for each in self.consumers],
            "logs": [each.document() for each in self.logs],
        }


def _grouped(items: Iterable[Item], key: Callable[[Item], object]) -> list[list[Item]]:
    groups: dict[object, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def _process_row(told: Told) -> Row:
    fault = told.fault or "; ".join(told.status.not_ready_because)
    release = f"{told.status.version}, {told.status.environment}" if told.status.version else ""
    state = _state("", fault, "takes commands")
    return Row([told.process.address, ", ".join(told.process.services), release, state])


def _state(word: str, reason: str, otherwise: str) -> Cell:
    """A word in front of a reason; or that all is as it should be."""
    if not word and not reason:
        return Cell(otherwise, "green")
    return Cell(": ".join(part for part in (word, reason) if part), "bold red")
