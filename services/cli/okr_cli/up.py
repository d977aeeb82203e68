"""The embedded platform: PostgreSQL, all services and the samples in one process.

The one module of the command that knows the services; the others call them over gRPC.
"""

import asyncio
import socket
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg

import okr_alignment.__main__ as alignment
import okr_checkins.__main__ as checkins
import okr_directory.__main__ as directory
import okr_goals.__main__ as goals
import okr_insights.__main__ as insights
import okr_notifications.__main__ as notifications
from okr.directory.v1.directory_pb2 import GetOrganizationRequest
from okr.insights.v1.insights_pb2 import GetBoardRequest
from okr_chassis.clock import ManualClock
from okr_chassis.memory import settle_memory
from okr_chassis.platform import Platform
from okr_chassis.service import ServiceModule
from okr_chassis.settings import Settings
from okr_chassis.startup import PortInUseError, StartupError
from okr_chassis.stopping import until_asked
from okr_chassis.storage.data_directory import keep_secret
from okr_chassis.storage.postgres import EmbeddedPostgres
from okr_cli import samples
from okr_cli.client import Client
from okr_cli.commands.reading import show_board
from okr_cli.failures import RefusedError
from okr_cli.output import Output
from okr_cli.program import program
from okr_cli.story import Story, stories
from okr_eventstore.database import Database
from okr_eventstore.errors import StoreUnavailableError

SERVICES: tuple[ServiceModule, ...] = (directory, goals, checkins, alignment, notifications, insights)


async def run(settings: Settings, output: Output, with_samples: bool) -> None:
    """Bring everything up, serve until asked to stop, take everything down in order."""

    async def serve(asked: asyncio.Event, serves: asyncio.Event) -> None:
        await _serve(settings, output, with_samples, asked, serves)

    await until_asked(serve, lambda: output.note("stopping before everything was up"))


async def _serve(
    settings: Settings, output: Output, with_samples: bool, asked: asyncio.Event, serves: asyncio.Event
) -> None:
    def say(step: str) -> None:
        output.say(f"· {step}", style="dim")

    _require_free_port(settings)
    settle_memory()
    async with AsyncExitStack() as stack:
        if settings.database_url is None:
            postgres = await stack.enter_async_context(EmbeddedPostgres(settings.data_dir, starting=say))
            dsn = postgres.dsn
            settings = _recognised(settings)
            say(f"PostgreSQL runs on {settings.data_dir}")
        else:
            dsn = settings.database_url
            say("using the PostgreSQL of DATABASE_URL")
        if settings.kafka:
            say(f"services hear of each other over Kafka at {', '.join(settings.kafka)}")
        told = stories() if with_samples and not settings.production else []
        if told:
            await tell(settings, dsn, told, output)
        async with Platform(settings, dsn, SERVICES, starting=say) as platform:
            await _greet(platform, settings, told, output)
            serves.set()
            await asked.wait()
            output.say()
            say("finishing what runs, then stopping")
    output.say("Stopped. The data stays.")


def _recognised(settings: Settings) -> Settings:
    """Under a name that is kept with the data: what a killed process held, leases and Kafka's partitions, is ours at
    once. Its PostgreSQL lets one process at a time work on a data directory, so nobody else has that name."""
    if "instance" in settings.model_fields_set:
        return settings
    kept = keep_secret(settings.data_dir / "instance", lambda: f"okr-up-{uuid4().hex[:12]}".encode())
    return settings.model_copy(update={"instance": kept.decode()})


def _require_free_port(settings: Settings) -> None:
    """See that our port is free before anything is started: what comes first may take a while."""
    if not settings.grpc_port:
        return
    try:
        found = socket.getaddrinfo(settings.grpc_host or None, settings.grpc_port, type=socket.SOCK_STREAM)
    except OSError:
        return  # an address that is none is told by the server itself
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            raise PortInUseError(f"{settings.grpc_host}:{settings.grpc_port}") from None


async def tell(settings: Settings, dsn: str, told: list[Story], output: Output) -> None:
    """Tell the sample stories where they are missing, on a platform nobody else can reach."""
    now = datetime.now(UTC)
    bookmark = samples.Bookmark(settings.data_dir / "samples.bookmark")
    if not bookmark.is_there and await _holds_events(dsn):
        return  # told to the end, or somebody else's: whatever waits to be done is the real platform's to do
    clock = ManualClock(bookmark.read() or now)
    # What is told goes to Kafka afterwards, with the rest of the log.
    private = settings.model_copy(update={"grpc_host": "127.0.0.1", "peers": {}, "kafka": (), "metrics_port": None})
    output.say("· looking for the sample organisations", style="dim")
    async with Platform(private, dsn, SERVICES, clock=clock, port=0) as platform:
        with output.progress("· loading the sample organisations") as meter:
            if await samples.tell(platform, clock, told, now, bookmark, meter):
                output.say(f"· {len(told)} sample organisations with eight weeks of check-ins are in", style="dim")


async def _holds_events(dsn: str) -> bool:
    """Whether anything ever happened here; asked of the log itself, which needs no consumer to catch up."""
    try:
        database = await Database.open(dsn, directory.NAME)
        try:
            if await database.fetchval("SELECT to_regclass('event')") is None:
                return False
            return bool(await database.fetchval("SELECT EXISTS (SELECT FROM event)"))
        finally:
            await database.close()
    except (StoreUnavailableError, asyncpg.PostgresError, OSError) as error:
        raise StartupError(f"PostgreSQL cannot be used: {error}; see DATABASE_URL") from error


async def _greet(platform: Platform, settings: Settings, told: list[Story], output: Output) -> None:
    """The board of the sample company, where it is, and what to try next."""
    if output.as_json:
        output.json_line({"address": platform.address, "data_dir": str(settings.data_dir.resolve())})
        return
    shown = bool(told) and await _show_sample(platform, told[0], output)
    output.say()
    output.say(f"Ready at {platform.address}, data in {settings.data_dir.resolve()}. Ctrl-C stops.", style="green")
    output.say()
    output.say("What to try next, in another terminal:")
    for line in _next_steps(settings, shown):
        output.say(f"  {line}")


async def _show_sample(platform: Platform, story: Story, output: Output) -> bool:
    if platform.issuer is None:
        return False
    token = platform.issuer.issue(story.organization_id, samples.leader_of(story))
    async with Client(platform.address, token) as client:
        try:
            await client.ask(client.directory.GetOrganization, GetOrganizationRequest())
        except RefusedError as error:
            if error.reason.endswith("_NOT_FOUND"):
                return False
            raise
        output.say()
        await show_board(client, output, GetBoardRequest())
        return True


def _next_steps(settings: Settings, samples_shown: bool) -> list[str]:
    """Commands that work as they stand: by this program's path, after the settings that are not the usual ones."""
    usual = Settings.model_fields
    differing = [
        f"{variable}={getattr(settings, field)}"
        for field, variable in (("grpc_port", "OKR_GRPC_PORT"), ("grpc_host", "OKR_GRPC_HOST"))
        if getattr(settings, field) != usual[field].default
    ]
    if settings.data_dir != usual["data_dir"].default:
        differing.append(f"OKR_DATA_DIR={settings.data_dir}")
    okr = program()
    first = [f"export {' '.join(differing)}"] if differing else []
    if not samples_shown:
        return [
            *first,
            f'{okr} import your-okrs.xlsx --organization "Your Company" --as "Your Name"',
            f'{okr} board --organization "Your Company"',
        ]
    return [
        *first,
        f'{okr} board --as-of "4 weeks ago"',
        f'{okr} history "onboarding tickets"',
        f'{okr} check-in "onboarding tickets" 12.9 --confidence 0.8 --as tomas',
        f"{okr} due --all",
        f"{okr} tree",
        f"{okr} inbox --as ines",
        f"{okr} verify",
        f'{okr} import your-okrs.xlsx --organization "Your Company" --as "Your Name" --dry-run',
    ]
