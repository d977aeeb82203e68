"""The cells of a plan: each read by itself, so that all faults are found at once, with row and column."""

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from msgspec import Struct
from pydantic import TypeAdapter, ValidationError

from okr_chassis.rpc.fields import (
    Name,
    Number,
    OptionalConfidence,
    OptionalDay,
    OptionalNumber,
    OptionalTitle,
    Title,
    text,
)
from okr_chassis.rpc.violations import violations_of
from okr_goals.decider.champions import MAX_CHAMPIONS
from okr_rules.commitment import plain

MAX_ROWS = 5_000
WHOLE_FILE = 0
"""The row of a fault that no single row has."""

Value = TypeVar("Value")


class Fault(Struct, frozen=True):
    """What is wrong with one cell. `column` is a field of PlanRow, or of the request for the whole file."""

    row: int
    column: str
    reason: str
    message: str


class SheetRow(Struct, frozen=True):
    """One key result as its row says it."""

    row: int
    objective: str
    department: str
    owner: str
    parent_objective: str | None
    key_result: str
    champions: tuple[str, ...]
    start: Decimal
    commit: Decimal | None
    target: Decimal
    unit: str
    current: Decimal | None
    confidence: Decimal | None
    due_on: date | None


class Cells(Protocol):
    """A PlanRow of protobuf."""

    row: int
    objective: str
    department: str
    owner: str
    parent_objective: str
    key_result: str
    start: str
    commit: str
    target: str
    unit: str
    current: str
    confidence: str
    due_on: str

    @property
    def champions(self) -> Sequence[str]: ...


_READ: dict[str, TypeAdapter[Any]] = {
    "objective": TypeAdapter(Title),
    "department": TypeAdapter(Name),
    "owner": TypeAdapter(Name),
    "parent_objective": TypeAdapter(OptionalTitle),
    "key_result": TypeAdapter(Title),
    "start": TypeAdapter(Number),
    "commit": TypeAdapter(OptionalNumber),
    "target": TypeAdapter(Number),
    "unit": TypeAdapter(Annotated[str, text(40)]),
    "current": TypeAdapter(OptionalNumber),
    "confidence": TypeAdapter(OptionalConfidence),
    "due_on": TypeAdapter(OptionalDay),
}
_CHAMPION: TypeAdapter[str] = TypeAdapter(Name)


def read(rows: Iterable[Cells]) -> tuple[list[SheetRow], list[Fault]]:
    """The rows that could be read in full, and every cell that could not."""
    found: list[SheetRow] = []
    faults: list[Fault] = []
    for cells in rows:
        before = len(faults)
        values: dict[str, Any] = {name: _cell(adapter, cells, name, faults) for name, adapter in _READ.items()}
        champions = _champions(cells, faults)
        if len(faults) == before:
            found.append(SheetRow(row=cells.row, champions=champions, **values))
    return found, faults


def digest(cycle_name: str, starts_on: date, ends_on: date, rows: Sequence[SheetRow]) -> str:
    """What makes two plans the same: all they say, whatever rows they say it in and however numbers are written."""
    said: list[Any] = [cycle_name, starts_on, ends_on]
    for row in rows:
        values = (_plain(value) for name, value in msgspec.structs.asdict(row).items() if name != "row")
        said.append(list(values))
    return sha256(msgspec.json.encode(said)).hexdigest()


def _plain(value: Any) -> Any:
    return f"{plain(value):f}" if isinstance(value, Decimal) else value


def _champions(cells: Cells, faults: list[Fault]) -> tuple[str, ...]:
    if not cells.champions:
        faults.append(
            Fault(cells.row, "champions", "NO_ACCOUNTABLE", "names nobody; the first champion is the accountable one")
        )
    if len(cells.champions) > MAX_CHAMPIONS:
        message = f"names {len(cells.champions)} champions; at most {MAX_CHAMPIONS}"
        faults.append(Fault(cells.row, "champions", "TOO_MANY_CHAMPIONS", message))
        return ()
    named = (_read(_CHAMPION, champion, cells.row, "champions", faults) for champion in cells.champions)
    return tuple(champion for champion in named if champion is not None)


def _cell(adapter: TypeAdapter[Value], cells: Cells, column: str, faults: list[Fault]) -> Value | None:
    return _read(adapter, getattr(cells, column), cells.row, column, faults)


def _read(adapter: TypeAdapter[Value], value: Any, row: int, column: str, faults: list[Fault]) -> Value | None:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        faults += [Fault(row, column, fault.reason, fault.message) for fault in violations_of(error)]
        return None
