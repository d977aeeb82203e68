"""What stands between a draft of a cycle and its publication: the findings of good practice, all at once."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from okr_chassis.identity.auth import caller
from okr_contracts.errors import Violation
from okr_goals import read_model
from okr_goals.practice.counsel import Counsellor
from okr_goals.read_model import Reads
from okr_rules.lint import Finding

AT_ONCE = 8
"""How many objectives are looked at at the same time."""
ENDED = ("closed", "cancelled")


class Judgement(NamedTuple):
    """How many objectives there are, what blocks them, and what is only advice."""

    objectives: int
    blocking: tuple[Violation, ...]
    advice: tuple[Finding, ...]


class Gate:
    """Looks at all objectives of a cycle with the eyes of good practice, on behalf of the running call."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._counsellor = Counsellor(reads)

    async def judge(self, cycle_id: UUID) -> Judgement:
        rows = await read_model.objectives_of_cycle(self._reads, caller().organization_id, cycle_id)
        rows = sorted((row for row in rows if row["state"] not in ENDED), key=lambda row: (row["title"], str(row[0])))
        room = asyncio.Semaphore(AT_ONCE)

        async def look(row: asyncpg.Record) -> Sequence[Finding]:
            async with room:
                return (await self._counsellor.on_objective(row["objective_id"])).findings

        found = await asyncio.gather(*(look(row) for row in rows))
        blocking = [
            Violation(row["title"], f"{finding.message} ({finding.rule.id})", "PRACTICE_NOT_MET")
            for row, findings in zip(rows, found, strict=True)
            for finding in findings
            if finding.severity == "error"
        ]
        advice = [finding for findings in found for finding in findings if finding.severity != "error"]
        return Judgement(len(rows), tuple(blocking), tuple(advice))

    async def lets_pass(self, objective_id: UUID) -> bool:
        """Whether nothing blocks one objective."""
        counsel = await self._counsellor.on_objective(objective_id)
        return all(finding.severity != "error" for finding in counsel.findings)
