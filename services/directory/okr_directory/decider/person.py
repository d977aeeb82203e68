"""A person, known to the log by an opaque id alone."""

from typing import Literal, TypeAlias, assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel

from okr_chassis.rpc.fields import Id, OptionalId
from okr_contracts.directory import PersonErased, PersonEvent, PersonMoved, PersonRegistered
from okr_contracts.errors import AlreadyExistsError, DomainError, NotFoundError
from okr_eventstore.decider import Decider

Claim = Literal["held", "differs", "handle_taken"]
"""Held by this person; held by this person with other content; its handle held by somebody else."""


class EnterPerson(BaseModel, frozen=True):
    """The part of a registration that the log may know: somebody joined, in this unit or in none.

    That the unit exists was seen in the organisation's stream; units are never removed. `identity` is
    what became of the claim to a handle, a name and an e-mail, which the log must not know.
    """

    person_id: Id
    unit_id: OptionalId = None
    identity: Claim = "held"


class MovePerson(BaseModel, frozen=True):
    person_id: Id
    unit_id: OptionalId = None


class ErasePerson(BaseModel, frozen=True):
    """Forget somebody for ever. `known` says that they wrote something, registered or not."""

    person_id: Id
    known: bool = False


PersonCommand: TypeAlias = EnterPerson | MovePerson | ErasePerson


class Person(Struct, frozen=True):
    registered: bool = False
    erased: bool = False
    first_unit_id: UUID | None = None
    unit_id: UUID | None = None


def decide(state: Person, command: PersonCommand) -> list[PersonEvent]:
    match command:
        case ErasePerson() if state.erased:
            return []
        case ErasePerson() if not (state.registered or command.known):
            raise NotFoundError("person", command.person_id)
        case ErasePerson():
            return [PersonErased(person_id=command.person_id)]
        case _ if state.erased:
            raise DomainError("PERSON_ERASED", f"person {command.person_id} was erased, and that is for ever")
        case EnterPerson() if command.identity == "handle_taken":
            raise DomainError("HANDLE_TAKEN", "somebody else in the organisation has this handle; choose another one")
        case EnterPerson() if command.identity == "differs":
            raise AlreadyExistsError("person", command.person_id)
        case EnterPerson() if not state.registered:
            return [PersonRegistered(person_id=command.person_id, unit_id=command.unit_id)]
        case EnterPerson() if command.unit_id not in (state.first_unit_id, state.unit_id):
            raise AlreadyExistsError("person", command.person_id)
        case EnterPerson():
            return []
        case MovePerson() if not state.registered:
            raise NotFoundError("person", command.person_id)
        case MovePerson() if command.unit_id == state.unit_id:
            return []
        case MovePerson():
            return [PersonMoved(person_id=command.person_id, unit_id=command.unit_id)]
        case _:
            assert_never(command)


def evolve(state: Person, event: PersonEvent) -> Person:
    match event:
        case PersonRegistered():
            return Person(registered=True, first_unit_id=event.unit_id, unit_id=event.unit_id)
        case PersonMoved():
            return replace(state, unit_id=event.unit_id)
        case PersonErased():
            return replace(state, erased=True)
        case _:
            assert_never(event)


people: Decider[Person, PersonCommand, PersonEvent] = Decider(
    category="person", initial=Person(), decide=decide, evolve=evolve
)
