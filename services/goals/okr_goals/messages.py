"""Rows of the read model as messages."""

import asyncpg
import msgspec
from okr.goals.v1 import goals_pb2 as pb
from okr_chassis.rpc import etag, wire

from okr_goals.read_model import ChampionEntry

_champions = msgspec.json.Decoder(tuple[ChampionEntry, ...])


def cycle_message(row: asyncpg.Record) -> pb.Cycle:
    return pb.Cycle(
        cycle_id=str(row["cycle_id"]),
        name=row["name"],
        starts_on=wire(row["starts_on"]),
        ends_on=wire(row["ends_on"]),
        state=pb.CycleState.Value(f"CYCLE_STATE_{row['state'].upper()}"),
        etag=etag(row["_stream_version"]),
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
    )
