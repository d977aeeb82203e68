"""What good practice says of an objective: the rules, with the surroundings they ask for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from okr_chassis.identity.auth import caller
from okr_contracts.errors import NotFoundError
from okr_contracts.goals import Measurement
from okr_goals import read_model, replica
from okr_goals.practice.drafts import Drafted, draft_key_result
from okr_goals.read_model import ChampionEntry, OverriddenRow, Reads
from okr_rules import lint
from okr_rules.commitment import Ambition, ambition_of
from okr_rules.lint import DraftKeyResult, DraftObjective, Finding

_champions = msgspec.json.Decoder(tuple[ChampionEntry, ...])
_measurement = msgspec.json.Decoder(Measurement)
_overridden = msgspec.json.Decoder(tuple[OverriddenRow, ...])

DRAFT = "draft"
"""How an objective that has no id yet is called in findings."""


class Counsel(NamedTuple):
    """What is to be said, and what somebody has given a reason for."""

    findings: Sequence[Finding]
    overridden: Sequence[Finding]


class Counsellor:
    """Looks at objectives with the eyes of good practice, on behalf of the running call."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def on_objective(self, objective_id: UUID) -> Counsel:
        """Raises NotFoundError."""
        organization_id = caller().organization_id
        row = await read_model.objective(self._reads, organization_id, objective_id)
        if row is None:
            raise NotFoundError("objective", objective_id)
        rows = await read_model.key_results_of(self._reads, organization_id, [objective_id])
        place = await replica.place_of(self._reads, organization_id, objective_id)
        draft = await self._surrounded(
            DraftObjective(
                id=str(objective_id),
                title=row["title"],
                owner=str(row["owner_id"]),
                cycle=str(row["cycle_id"]),
                unit=str(row["unit_id"]),
                key_results=tuple(_drafted(each) for each in rows),
                top_level=place.is_served and place.parent_objective_id is None,
                has_parent=place.parent_objective_id is not None,
            ),
            row["cycle_id"],
            row["unit_id"],
            place.parent_objective_id,
            objective_id,
        )
        overridden = {(each.rule, str(each.subject_id)) for each in _overridden.decode(row["overridden"])}
        findings = lint.lint(draft, overridden=overridden)
        return Counsel(findings, [each for each in lint.lint(draft) if each not in findings])

    async def on_draft(self, drafted: Drafted) -> Sequence[Finding]:
        """Of what is only in somebody's mind: it counts as one objective more."""
        return lint.lint(
            await self._surrounded(
                DraftObjective(
                    id=DRAFT,
                    title=drafted.title or "",
                    owner=str(drafted.owner_id) if drafted.owner_id else None,
                    cycle=str(drafted.cycle_id) if drafted.cycle_id else None,
                    unit=str(drafted.unit_id) if drafted.unit_id else None,
                    key_results=tuple(
                        draft_key_result(each, place) for place, each in enumerate(drafted.key_results, start=1)
                    ),
                    has_parent=drafted.parent_objective_id is not None,
                ),
                drafted.cycle_id,
                drafted.unit_id,
                drafted.parent_objective_id,
                None,
            )
        )

    async def _surrounded(
        self,
        draft: DraftObjective,
        cycle_id: UUID | None,
        unit_id: UUID | None,
        parent_id: UUID | None,
        objective_id: UUID | None,
    ) -> DraftObjective:
        """The draft with what the rules ask of its surroundings: unit, cycle, parent."""
        organization_id = caller().organization_id
        changes: dict[str, Any] = {}
        if parent_id is not None:
            parent = await read_model.objective(self._reads, organization_id, parent_id)
            if parent is None:
                raise NotFoundError("objective", parent_id)
            changes["parent_title"] = parent["title"]
        if cycle_id is not None:
            others = [
                row
                for row in await read_model.key_results_of_cycle(self._reads, organization_id, cycle_id)
                if row["objective_id"] != objective_id
            ]
            champions = [each for row in others for each in _champions.decode(row["champions"])]
            changes["accountable_elsewhere"] = dict(
                Counter(str(each.person_id) for each in champions if each.role == "accountable")
            )
            changes["metrics_elsewhere"] = frozenset(row["metric"] for row in others if row["metric"])
            changes["first_cycle"] = not await read_model.has_cycle_before(self._reads, organization_id, cycle_id)
            if unit_id is not None:
                found = await read_model.objectives_of_unit(self._reads, organization_id, cycle_id, unit_id)
                changes["objectives_of_unit"] = found + (objective_id is None)
        return replace(draft, **changes)


def _drafted(row: asyncpg.Record) -> DraftKeyResult:
    """A stored key result as the rules look at it."""
    details = _measurement.decode(row["measurement"])
    return DraftKeyResult(
        id=str(row["key_result_id"]),
        title=row["title"],
        kind=row["type"],
        unit=row["unit"],
        start=row["start"],
        commit=row["commit"],
        target=row["target"],
        stretch=details.stretch,
        ambition=_ambition(row, details),
        indicator=details.indicator,
        guard_rail=details.guard_rail,
        milestone_weights=tuple(each.weight for each in details.milestones),
        accountable=tuple(
            str(each.person_id) for each in _champions.decode(row["champions"]) if each.role == "accountable"
        ),
        update_days=details.update_days,
        metric=details.metric,
    )


def _ambition(row: asyncpg.Record, details: Measurement) -> Ambition:
    """Its marks tell, since a revision may have overtaken what was said. Zones in words are no marks."""
    told = ambition_of(row["commit"], row["target"])
    if row["type"] != "ordinal":
        return told
    return details.ambition or ("committed" if details.guard_rail else told)
