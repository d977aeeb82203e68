"""The checker rejects what cannot have happened; and a stream under many writers shows nothing of the kind."""

import asyncio
from collections.abc import Sequence
from itertools import count, permutations
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okr_eventstore.database import Database
from okr_eventstore.errors import ConflictError, StoreUnavailableError
from okr_eventstore.log import EventLog
from okr_eventstore.model import NewEvent
from tests.chaos.linearizability import Appended, InDoubt, Operation, Read, Refused, illegal
from tests.chaos.run import Run
from tests.eventstore.garden import GARDEN, Watered, codec, watered
from tests.support.shop import context

# --- the checker -------------------------------------------------------------------------------------


def test_operations_one_after_the_other_are_legal() -> None:
    history = [Appended(1, 2, "a", 1), Read(3, 4, ("a",)), Refused(5, 6, 0, 1), Appended(7, 8, "b", 2)]
    assert illegal(history, ["a", "b"]) is None


def test_operations_at_the_same_time_may_have_happened_in_any_order() -> None:
    history = [Appended(1, 9, "a", 1), Read(2, 8, ()), Read(3, 7, ("a",)), Appended(4, 6, "b", 2)]
    assert illegal(history, ["a", "b"]) is None


def test_an_append_in_doubt_may_be_done_or_not() -> None:
    assert illegal([InDoubt(1, inf, "a")], []) is None
    assert illegal([InDoubt(1, inf, "a"), Read(2, 3, ()), Read(4, 5, ("a",))], ["a"]) is None


@pytest.mark.parametrize(
    ("history", "final"),
    [
        ([Appended(1, 2, "a", 1)], []),
        ([Appended(1, 2, "a", 1), Appended(1, 2, "b", 1)], ["a"]),
        ([Appended(1, 2, "a", 1), Read(3, 4, ())], ["a"]),
        ([Appended(3, 4, "a", 1), Read(1, 2, ("a",))], ["a"]),
        ([Appended(1, 2, "b", 2), Appended(3, 4, "a", 1)], ["a", "b"]),
        ([Appended(1, 2, "a", 1), Appended(1, 2, "b", 2), Read(3, 4, ("b", "a"))], ["a", "b"]),
        ([Appended(1, 9, "a", 1), Read(2, 3, ("a",)), Read(4, 5, ())], ["a"]),
        ([Appended(1, 2, "a", 1), Refused(3, 4, 1, 0)], ["a"]),
        ([Appended(1, 2, "a", 1), Refused(3, 4, 1, 1)], ["a"]),
        ([Refused(1, 2, 0, 1), Appended(3, 4, "a", 1)], ["a"]),
        ([Appended(1, 2, "a", 1), Refused(3, 4, 0, 2)], ["a"]),
        ([Appended(1, 2, "a", 1)], ["a", "a"]),
        ([], ["a"]),
        ([Read(1, 2, ("a",)), InDoubt(3, inf, "a")], ["a"]),
    ],
    ids=[
        "lost", "two winners", "a stale read", "a read from the future", "answered against the order",
        "read in another order", "a read that goes back", "a stale refusal", "refused without a reason",
        "refused by the future", "refused by what never was", "done twice", "done by nobody",
        "in doubt and seen before it was sent",
    ],
)  # fmt: skip
def test_what_cannot_have_happened_is_rejected(history: Sequence[Operation], final: list[str]) -> None:
    assert illegal(history, final) is not None


def by_trying_everything(history: Sequence[Operation], final: Sequence[str]) -> bool:
    """The definition itself: some order of all operations respects real time and gives these answers."""
    for order in permutations(history):
        if any(later.returned < earlier.called for i, earlier in enumerate(order) for later in order[i + 1 :]):
            continue
        values: list[str] = []
        for operation in order:
            match operation:
                case Appended(value=value, version=version):
                    values.append(value)
                    if len(values) != version:
                        break
                case Read(values=seen) if list(seen) != values:
                    break
                case Refused(expected=expected, actual=actual) if actual != len(values) or expected == actual:
                    break
        else:
            if values == list(final):
                return True
    return False


@st.composite
def small_histories(draw: st.DrawFn) -> tuple[list[Operation], list[str]]:
    final = ["a", "b", "c"][: draw(st.integers(0, 3))]
    moments = draw(st.permutations(range(12)))
    spans = [(min(pair), max(pair)) for pair in zip(moments[::2], moments[1::2], strict=True)]
    history: list[Operation] = [
        Appended(called, returned, value, version)
        for version, ((called, returned), value) in enumerate(zip(spans, final, strict=False), 1)
    ]
    for called, returned in spans[len(final) : len(final) + draw(st.integers(0, 3))]:
        version = draw(st.integers(0, len(final)))
        if draw(st.booleans()):
            history.append(Read(called, returned, tuple(final[:version])))
        else:
            history.append(Refused(called, returned, draw(st.integers(0, 3)), version))
    return history, final


@given(small_histories())
def test_the_quick_checker_agrees_with_trying_everything(case: tuple[list[Operation], list[str]]) -> None:
    history, final = case
    assert (illegal(history, final) is None) == by_trying_everything(history, final)


# --- the log -----------------------------------------------------------------------------------------

WRITERS = 64
APPENDS = 40
READERS = 4
KILL_EVERY = 8


async def test_a_stream_that_many_write_to_at_once_is_one_list(database: Database) -> None:
    """64 writers over two logs, readers beside them, the appenders' connections killed on the way."""
    run = Run("one list", 0)
    with run.told():
        choices = run.choices("kills")
        moment = count(1)
        history: list[Operation] = []
        logs = [EventLog("garden", database, codec()) for _ in range(2)]
        for log in logs:
            await log.start()
        finished = asyncio.Event()
        done = 0

        async def write(number: int) -> None:
            nonlocal done
            log, known, attempt = logs[number % 2], 0, 0
            while not finished.is_set():
                attempt += 1
                value, called = f"{number}.{attempt}", next(moment)
                try:
                    answer = await log.append(
                        "fern", known, [NewEvent(watered(1, value))], context(organization_id=GARDEN)
                    )
                except ConflictError as error:
                    history.append(Refused(called, next(moment), error.expected, error.actual))
                    known = error.actual
                except StoreUnavailableError:
                    history.append(InDoubt(called, inf, value))
                else:
                    history.append(Appended(called, next(moment), value, answer.version))
                    known = answer.version
                    done += 1
                    if done % KILL_EVERY == 0:
                        await kill()
                    if done >= APPENDS:
                        finished.set()

        async def kill() -> None:
            backends = await database.fetch(
                "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND query LIKE '%append_batch(%'"
                " AND pid <> pg_backend_pid() ORDER BY pid",
                f"okr {database.schema}",
            )
            if backends:
                await database.execute("SELECT pg_terminate_backend($1::int)", choices.choice(backends)["pid"])

        async def read() -> tuple[str, ...]:
            events = await logs[0].read_stream(GARDEN, "fern")
            return tuple(event.data.note for event in events if isinstance(event.data, Watered))

        async def watch() -> None:
            while not finished.is_set():
                called = next(moment)
                values = await read()
                history.append(Read(called, next(moment), values))

        async with asyncio.timeout(60):
            await asyncio.gather(*(write(n) for n in range(WRITERS)), *(watch() for _ in range(READERS)))
        final = await read()
        for log in logs:
            await log.close()
        assert illegal(history, final) is None
        assert len(final) >= APPENDS
        assert any(isinstance(operation, Refused) for operation in history)
        # The control: the same history with any one acknowledged append taken out of the stream is not legal.
        taken = choices.randrange(len(final))
        assert illegal(history, [*final[:taken], *final[taken + 1 :]]) is not None
