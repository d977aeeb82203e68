"""An import: a spreadsheet that was checked as a whole and is carried out to the end, objective by objective."""

from typing import TypeAlias, assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, InstanceOf

from okr_chassis.rpc.fields import Id
from okr_contracts.errors import NotFoundError
from okr_contracts.goals import (
    ImportAccepted,
    ImportCompleted,
    ImportEvent,
    ImportObjectiveApplied,
    ImportObjectivePlanned,
    ImportRowRefused,
)
from okr_eventstore.decider import Decider


class AcceptImport(BaseModel, frozen=True):
    """`objectives` come parents first, so that each finds its parent when its turn comes."""

    accepted: InstanceOf[ImportAccepted]
    objectives: tuple[InstanceOf[ImportObjectivePlanned], ...]


class RefusedRow(BaseModel, frozen=True):
    row: int
    reason: str
    message: str


class RecordApplied(BaseModel, frozen=True):
    """One objective's turn is over; `refused` are the rows that the world overtook since the acceptance."""

    import_id: Id
    objective_id: Id
    refused: tuple[RefusedRow, ...] = ()
    positions: tuple[str, ...] = ()


ImportCommand: TypeAlias = AcceptImport | RecordApplied


class Import(Struct, frozen=True):
    """`accepted` is None while there is no such import; `applied` are the objectives whose turn is over."""

    accepted: ImportAccepted | None = None
    applied: frozenset[UUID] = frozenset()


def decide(state: Import, command: ImportCommand) -> list[ImportEvent]:
    match command:
        case AcceptImport() if state.accepted is not None:
            return []  # the same plan, digit by digit: its id is a digest of it
        case AcceptImport():
            return [command.accepted, *command.objectives]
        case RecordApplied() if state.accepted is None:
            raise NotFoundError("import", command.import_id)
        case RecordApplied() if command.objective_id in state.applied:
            return []
        case RecordApplied():
            return _record(state, state.accepted.objectives, command)
        case _:
            assert_never(command)


def evolve(state: Import, event: ImportEvent) -> Import:
    match event:
        case ImportAccepted():
            return Import(accepted=event)
        case ImportObjectiveApplied():
            return replace(state, applied=state.applied | {event.objective_id})
        case ImportObjectivePlanned() | ImportRowRefused() | ImportCompleted():
            return state
        case _:
            assert_never(event)


def _record(state: Import, objectives: int, command: RecordApplied) -> list[ImportEvent]:
    events: list[ImportEvent] = [
        ImportRowRefused(import_id=command.import_id, row=each.row, reason=each.reason, message=each.message)
        for each in command.refused
    ]
    events.append(
        ImportObjectiveApplied(
            import_id=command.import_id, objective_id=command.objective_id, positions=command.positions
        )
    )
    if len(state.applied) + 1 == objectives:
        events.append(ImportCompleted(import_id=command.import_id))
    return events


imports: Decider[Import, ImportCommand, ImportEvent] = Decider(
    category="import", initial=Import(), decide=decide, evolve=evolve
)
