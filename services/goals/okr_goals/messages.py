"""Rows of the read model as messages."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

from okr.goals.v1 import goals_pb2 as pb
from okr_chassis.rpc.messages import enum_value, etag, wire
from okr_contracts.goals import Measurement, PinnedRules
from okr_goals.read_model import ChampionEntry, RefusedRow

_champions = msgspec.json.Decoder(tuple[ChampionEntry, ...])
_measurement = msgspec.json.Decoder(Measurement)
_rules = msgspec.json.Decoder(PinnedRules)
_refused = msgspec.json.Decoder(tuple[RefusedRow, ...])
_positions = msgspec.json.Decoder(tuple[str, ...])


def cycle_message(row: asyncpg.Record) -> pb.Cycle:
    return pb.Cycle(
        cycle_id=str(row["cycle_id"]),
        name=row["name"],
        starts_on=wire(row["starts_on"]),
        ends_on=wire(row["ends_on"]),
        state=pb.CycleState.Value(f"CYCLE_STATE_{row['state'].upper()}"),
        etag=etag(row["_stream_version"]),
        rule_version="" if row["rules"] is None else _rules.decode(row["rules"]).version,
        closed_positions=_positions.decode(row["positions"]),
    )


def objective_message(row: asyncpg.Record, key_results: list[asyncpg.Record]) -> pb.Objective:
    outcome = (row["outcome"] or "unspecified").upper()
    return pb.Objective(
        objective_id=str(row["objective_id"]),
        cycle_id=wire(row["cycle_id"]),
        unit_id=wire(row["unit_id"]),
        owner_id=wire(row["owner_id"]),
        title=row["title"],
        state=pb.ObjectiveState.Value(f"OBJECTIVE_STATE_{row['state'].upper()}"),
        outcome=pb.ObjectiveOutcome.Value(f"OBJECTIVE_OUTCOME_{outcome}"),
        key_results=[key_result_message(each) for each in key_results],
        etag=etag(row["_stream_version"]),
    )


def key_result_message(row: asyncpg.Record) -> pb.KeyResult:
    return pb.KeyResult(
        key_result_id=str(row["key_result_id"]),
        objective_id=str(row["objective_id"]),
        cycle_id=wire(row["cycle_id"]),
        title=row["title"],
        type=pb.KeyResultType.Value(f"KEY_RESULT_TYPE_{row['type'].upper()}"),
        start=wire(row["start"]),
        commit=wire(row["commit"]),
        target=wire(row["target"]),
        unit=row["unit"],
        starts_on=wire(row["starts_on"]),
        due_on=wire(row["due_on"]),
        champions=[
            pb.Champion(
                person_id=str(champion.person_id),
                role=pb.ChampionRole.Value(f"CHAMPION_ROLE_{champion.role.upper()}"),
            )
            for champion in _champions.decode(row["champions"])
        ],
        open=row["open"],
        measurement=measurement_message(_measurement.decode(row["measurement"])),
        continued_from=wire(row["continued_from"]),
    )


def measurement_message(said: Measurement) -> pb.Measurement:
    return pb.Measurement(
        stretch=wire(said.stretch),
        ambition=enum_value(pb.Ambition, said.ambition, "AMBITION_"),
        indicator=enum_value(pb.Indicator, said.indicator, "INDICATOR_"),
        guard_rail=said.guard_rail,
        weight=wire(said.weight),
        low=wire(said.low),
        high=wire(said.high),
        tolerance=wire(said.tolerance),
        milestones=[
            pb.Milestone(
                milestone_id=wire(each.milestone_id),
                title=each.title,
                weight=wire(each.weight),
                due_on=wire(each.due_on),
            )
            for each in said.milestones
        ],
        schedule=[pb.SchedulePoint(day=wire(day), share=wire(share)) for day, share in said.schedule],
        meanings=said.meanings,
        metric=said.metric,
        update_days=said.update_days or 0,
    )


def import_message(import_id: UUID, row: asyncpg.Record, own: Sequence[str]) -> pb.GetImportResponse:
    """`own` is how far our own log goes: whoever reads that far sees all that the import did here."""
    return pb.GetImportResponse(
        import_id=str(import_id),
        state=pb.IMPORT_STATE_COMPLETED if row["completed"] else pb.IMPORT_STATE_RUNNING,
        rows_done=row["rows_done"],
        rows_total=row["rows_total"],
        refused=[
            pb.PlanFault(row=each.row, reason=each.reason, message=each.message)
            for each in _refused.decode(row["refused"])
        ],
        positions=[*_positions.decode(row["positions"]), *own],
    )
