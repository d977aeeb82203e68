"""Who champions a key result: several people, each with a role, exactly one accountable."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from okr_contracts.errors import DomainError
from okr_contracts.goals import ChampionRole

MAX_CHAMPIONS = 8


class Champion(NamedTuple):
    person_id: UUID
    role: ChampionRole


def require_sound(champions: Sequence[Champion]) -> None:
    """Refuse a set of champions that breaks a rule. Raises DomainError."""
    roles = Counter(champion.role for champion in champions)
    if roles["accountable"] == 0:
        raise DomainError("NO_ACCOUNTABLE", "nobody is accountable; a key result has exactly one accountable champion")
    if roles["accountable"] > 1:
        raise DomainError(
            "TWO_ACCOUNTABLE",
            f"{roles['accountable']} champions are accountable; exactly one may be, the others can be responsible",
        )
    if len(set(champions)) < len(champions):
        raise DomainError("CHAMPION_REPEATED", "a person holds the same role twice; name each person once for a role")
    if len(champions) > MAX_CHAMPIONS:
        raise DomainError("TOO_MANY_CHAMPIONS", f"{len(champions)} champions are named; at most {MAX_CHAMPIONS}")
    if roles["data_steward"] > 1:
        raise DomainError("TWO_DATA_STEWARDS", f"{roles['data_steward']} data stewards are named; at most one")
    if roles["reviewer"] > 1:
        raise DomainError("TWO_REVIEWERS", f"{roles['reviewer']} reviewers are named; at most one")
    accountable = accountable_of(champions)
    if accountable is not None and Champion(accountable, "reviewer") in champions:
        raise DomainError(
            "REVIEWER_IS_ACCOUNTABLE", f"{accountable} is accountable and reviewer; somebody else has to review"
        )


def accountable_of(champions: Sequence[Champion]) -> UUID | None:
    """The one who promises, or None while there is nobody."""
    return next((champion.person_id for champion in champions if champion.role == "accountable"), None)
