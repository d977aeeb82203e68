"""The judge of the chaos runs is judged: of a lawful log it says nothing, and each kind of breach it names."""

from collections.abc import Callable
from uuid import UUID

import pytest

from tests.chaos.history import Answer, Held, History, Sent, Stored, disagreements, missed

MINT = UUID(int=10)
FERN, MOSS = (MINT, "fern"), (MINT, "moss")
ONE, TWO, THREE = UUID(int=1), UUID(int=2), UUID(int=3)


def lawful() -> tuple[History, Held]:
    """Three commands: two events, one event, and one that was never answered and never done."""
    history = {
        ONE: Sent(FERN, ("a", "b"), [Answer(2, 2), Answer(2, 2)]),
        TWO: Sent(MOSS, ("c",), [Answer(1, 3)]),
        THREE: Sent(MOSS, ("d",)),
    }
    events = [
        Stored(7, 1, FERN, 1, ONE, "a"),
        Stored(7, 2, FERN, 2, ONE, "b"),
        Stored(7, 3, MOSS, 1, TWO, "c"),
    ]
    return history, Held(events, {7: 3})


def test_of_a_lawful_log_there_is_nothing_to_say() -> None:
    assert disagreements(*lawful()) == []


def lost(history: History, held: Held) -> Held:
    return Held(held.events[:2], {7: 2})


def half_applied(history: History, held: Held) -> Held:
    return Held([held.events[0], held.events[2]._replace(position=2)], {7: 2})


def twice(history: History, held: Held) -> Held:
    again = held.events[2]._replace(position=4, version=2)
    return Held([*held.events, again], {7: 4})


def a_hole_in_positions(history: History, held: Held) -> Held:
    history[TWO].answers[:] = [Answer(1, 4)]
    return Held([*held.events[:2], held.events[2]._replace(position=4)], {7: 4})


def a_hole_in_versions(history: History, held: Held) -> Held:
    history[TWO].answers[:] = [Answer(2, 3)]
    return Held([*held.events[:2], held.events[2]._replace(version=2)], held.heads)


def a_head_beyond_the_events(history: History, held: Held) -> Held:
    return held._replace(heads={7: 4})


def another_text(history: History, held: Held) -> Held:
    return held._replace(events=[*held.events[:2], held.events[2]._replace(says="x")])


def another_stream(history: History, held: Held) -> Held:
    elsewhere = held.events[2]._replace(stream=(MINT, "oak"))
    return Held([*held.events[:2], elsewhere], held.heads)


def answered_differently(history: History, held: Held) -> Held:
    history[ONE].answers.append(Answer(4, 4))
    return held


def answered_wrongly(history: History, held: Held) -> Held:
    history[TWO].answers[:] = [Answer(1, 1)]
    return held


def sent_by_nobody(history: History, held: Held) -> Held:
    del history[TWO]
    return held


def torn_apart(history: History, held: Held) -> Held:
    history[ONE].answers[:] = [Answer(2, 3)]
    history[TWO].answers[:] = [Answer(1, 2)]
    first, second, other = held.events
    return held._replace(events=[first, other._replace(position=2), second._replace(position=3)])


@pytest.mark.parametrize(
    ("breach", "named"),
    [
        (lost, "and lost"),
        (half_applied, "the log holds ['a']"),
        (twice, "applied twice"),
        (a_hole_in_positions, "positions have a hole"),
        (a_hole_in_versions, "its versions are 2"),
        (a_head_beyond_the_events, "its head is 4"),
        (another_text, "the log holds ['x']"),
        (another_stream, "said ('c',)"),
        (answered_differently, "not once and for all"),
        (answered_wrongly, "its last event is"),
        (sent_by_nobody, "nobody sent it"),
        (torn_apart, "lie between its own"),
    ],
)
def test_a_breach_is_named(breach: Callable[[History, Held], Held], named: str) -> None:
    history, held = lawful()
    faults = disagreements(history, breach(history, held))
    assert any(named in fault for fault in faults), faults


def test_an_unanswered_command_may_be_done_or_not() -> None:
    history, held = lawful()
    history[TWO].answers.clear()
    assert disagreements(history, held) == []


@pytest.mark.parametrize(
    ("seen", "named"),
    [
        ([1, 3], "never handed positions 2"),
        ([], "never handed positions 1, 2, 3"),
        ([1, 2, 2, 3], "twice"),
        ([1, 3, 2], "out of order"),
        ([1, 2, 3, 4], "not there any more"),
    ],
)
def test_a_reader_that_errs_is_found_out(seen: list[int], named: str) -> None:
    _, held = lawful()
    assert missed([(7, 1), (7, 2), (7, 3)], held) == []
    assert any(named in fault for fault in missed([(7, position) for position in seen], held))
