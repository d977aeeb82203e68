"""Whether what callers of one stream saw could have happened one after the other.

A stream is a list that is only appended to, and an append names the version it expects. So the order
of the appends is known: it is the order of versions. What remains to ask is whether moments can be
found for all operations, each between its call and its return, that agree with that order. Taking
each as early as it may be answers that in one pass (Wing and Gong's question, easy for a list).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Operation:
    """What a caller asked and was answered. Moments are numbers in the order in which things happened;
    `returned` is infinite where no answer came."""

    called: float
    returned: float


@dataclass(frozen=True)
class Appended(Operation):
    """An append of one value that became version `version`, and so was expected to find the one before."""

    value: str
    version: int


@dataclass(frozen=True)
class InDoubt(Operation):
    """An append without an answer: done once at any moment after its call, or never."""

    value: str


@dataclass(frozen=True)
class Refused(Operation):
    """A conflict: the stream was at version `actual` and not at `expected`."""

    expected: int
    actual: int


@dataclass(frozen=True)
class Read(Operation):
    """All values of the stream, in order."""

    values: tuple[str, ...]


def illegal(history: Sequence[Operation], final: Sequence[str]) -> str | None:
    """Why there is no legal order, or None if there is one. `final` is the stream as it lies there in the end."""
    place = {value: version for version, value in enumerate(final, 1)}
    if len(place) < len(final):
        return "a value lies in the stream twice"
    writes: dict[int, Operation] = {}
    observed: dict[int, list[Operation]] = defaultdict(list)
    for operation in history:
        match operation:
            case Appended(value=value, version=version):
                if place.get(value) != version:
                    return f"{value} was acknowledged as version {version} and lies at {place.get(value)}"
                writes[version] = operation
            case InDoubt(value=value):
                if value in place:
                    writes[place[value]] = operation
            case Refused(expected=expected, actual=actual):
                if expected == actual:
                    return f"an append that expected version {expected} was refused at that very version"
                observed[actual].append(operation)
            case Read(values=values):
                if list(values) != list(final[: len(values)]):
                    return f"a read answered {values}, which was never the beginning of the stream"
                observed[len(values)].append(operation)
    if missing := [value for value in final if place[value] not in writes]:
        return f"nobody appended {missing[0]}"
    if observed and max(observed) > len(final):
        return f"somebody saw version {max(observed)} of {len(final)}"

    now = -inf
    for version in range(len(final) + 1):
        if version:
            write = writes[version]
            now = max(now, write.called)
            if now > write.returned:
                return f"version {version} was answered before what it follows, or what was seen before it, could be"
        moments = [max(now, seen.called) for seen in observed[version]]
        for moment, seen in zip(moments, observed[version], strict=True):
            if moment > seen.returned:
                return f"{seen} saw version {version} before it was there"
        now = max([now, *moments])
    return None
