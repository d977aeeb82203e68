"""The past, asked for: aggregates of many events and of few, boards with much history and with little."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID

from bench.harness import Case, Meter, Rounds, Sample, Work
from bench.history import CYCLE_ID, END, HALFWAY, Town, towns
from bench.peer import KeyResults
from bench.rebuilding import prepare_boards
from bench.stage import running_log, schema
from okr_chassis.service import Reader
from okr_checkins.decider import check_ins
from okr_eventstore.executor import CommandExecutor
from okr_insights.board import read_board
from okr_insights.moment import Moment

SHORT_STREAM = 10
LATER = END + timedelta(days=1)


async def measure_streams(meter: Meter, dsn: str) -> Rounds:
    scale = meter.scale
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(schema(dsn, "checkins"))
        log = await stack.enter_async_context(running_log("checkins", database))
        executor = CommandExecutor(log)
        cases = []
        for events in (SHORT_STREAM, scale.long_stream):
            key_result = KeyResults(f"as of, {events}", 1, organizations=1)
            await key_result.open(executor, 0)
            attempt = key_result.recording(executor, 1)
            for _ in range(events - 1):
                await attempt(0)
            organization_id, stream_id = key_result.organization(0), check_ins.stream(key_result.ids[0])
            for moment, version in (("now", None), ("half-way", events // 2), ("just before", events - 1)):
                load = _loading(executor, organization_id, stream_id, version, scale.reads)
                cases.append(Case(f"aggregate of {events}, {moment}", load))
        found = await meter.rounds("As of: one aggregate, folded", cases)
    for moment in ("now", "half-way", "just before"):
        long, short = f"aggregate of {scale.long_stream}, {moment}", f"aggregate of {SHORT_STREAM}, {moment}"
        found.compare(f"as of, {long}", long, short, "<= 4", read=_milliseconds, unit="ms")
    return found


async def measure_boards(meter: Meter, dsn: str) -> Rounds:
    """Over what the rebuild left behind."""
    scale = meter.scale
    settled = towns(scale)
    await prepare_boards(dsn, meter)
    async with schema(dsn, "insights") as database:
        await database.execute("VACUUM ANALYZE")
        reader = Reader("insights", database)
        cases = [
            Case(_board(town, moment), _showing(reader, town, moment, max(1, scale.reads // 8)))
            for moment in (Moment(LATER, HALFWAY), Moment(LATER))
            for town in (settled.busy, settled.calm)
        ]
        found = await meter.rounds(f"As of: a board of {scale.board_key_results:,} key results", cases)
    for moment in (Moment(LATER, HALFWAY), Moment(LATER)):
        busy, calm = _board(settled.busy, moment), _board(settled.calm, moment)
        found.compare(busy, busy, calm, "<= 1.3", read=_milliseconds, unit="ms")
    return found


def _milliseconds(sample: Sample) -> float:
    return 1000 / sample.rate


def _board(town: Town, moment: Moment) -> str:
    when = "as of half-way" if moment.as_of else "now"
    return f"board {when}, {town.check_ins} check-ins a key result"


def _loading(
    executor: CommandExecutor, organization_id: UUID, stream_id: str, version: int | None, reads: int
) -> Callable[[], Awaitable[Work]]:
    async def run() -> Work:
        for _ in range(reads):
            loaded = await executor.load(check_ins, organization_id, stream_id, version)
            assert version is None or loaded.version == version
        return Work(reads)

    return run


def _showing(reader: Reader, town: Town, moment: Moment, reads: int) -> Callable[[], Awaitable[Work]]:
    async def run() -> Work:
        for _ in range(reads):
            board = await read_board(
                reader,
                town.organization_id,
                moment,
                cycle_id=CYCLE_ID,
                unit_id=None,
                after=None,
                limit=town.key_results,
            )
            shown = [key_result for objective in board.objectives for key_result in objective.key_results]
            assert len(shown) == town.key_results
            assert all(key_result.checked_in_at is not None for key_result in shown)
        return Work(reads)

    return run
