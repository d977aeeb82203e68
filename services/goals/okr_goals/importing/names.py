"""When two spellings mean the same, and the ids that names lead to.

An id derived from a name is the same in every attempt, so an import that is interrupted, repeated or
sent twice always speaks of the same things.
"""

import unicodedata
from uuid import UUID, uuid5

HANDLE_LENGTH = 64


def same(name: str) -> str:
    """What is equal for all spellings of a name that differ in case or spacing alone."""
    return " ".join(unicodedata.normalize("NFKC", name).split()).casefold()


def handle_of(name: str) -> str:
    """A short handle for a person: "Zoë van Dijk" becomes zoe.van.dijk. Empty where no letter is left."""
    decomposed = unicodedata.normalize("NFKD", name)
    plain = "".join(part for part in decomposed if not unicodedata.combining(part)).casefold()
    words = "".join(part if part.isalnum() or part in "_-" else " " for part in plain).split()
    return ".".join(words)[:HANDLE_LENGTH].rstrip(".")


def unit_id(organization_id: UUID, name: str) -> UUID:
    return _id(organization_id, "unit", same(name))


def person_id(organization_id: UUID, handle: str) -> UUID:
    return _id(organization_id, "person", handle)


def successor_id(erased_person_id: UUID) -> UUID:
    """The id of somebody whose name leads to a person who was erased: the two are not the same."""
    return _id(erased_person_id, "successor")


def cycle_id(organization_id: UUID, name: str) -> UUID:
    return _id(organization_id, "cycle", same(name))


def objective_id(organization_id: UUID, cycle: UUID, unit: UUID, title: str) -> UUID:
    return _id(organization_id, "objective", cycle, unit, same(title))


def key_result_id(organization_id: UUID, objective: UUID, title: str) -> UUID:
    return _id(organization_id, "key result", objective, same(title))


def check_in_id(key_result: UUID, import_: UUID, row: int) -> UUID:
    return _id(key_result, "check-in", import_, row)


def import_id(organization_id: UUID, digest: str) -> UUID:
    return _id(organization_id, "import", digest)


def request_id(import_: UUID, actor: str, *purpose: object) -> UUID:
    """The id of a command on the way to an import; of each actor's own, because a command has one actor."""
    return _id(import_, "request", actor, *purpose)


def _id(namespace: UUID, *parts: object) -> UUID:
    return uuid5(namespace, "\x1f".join(str(part) for part in parts))
