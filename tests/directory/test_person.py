"""Rules of a person, known to the log by an id alone."""

from uuid import UUID

from okr_contracts.directory import PersonErased, PersonMoved, PersonRegistered
from okr_directory.decider.person import EnterPerson, ErasePerson, MovePerson, people
from tests.support.spec import spec

ANA, SALES, MARKETING = (UUID(int=number) for number in (1, 2, 3))

person_spec = spec(people)


def registered(unit_id: UUID | None = SALES) -> PersonRegistered:
    return PersonRegistered(person_id=ANA, unit_id=unit_id)


def enter(unit_id: UUID | None = SALES) -> EnterPerson:
    return EnterPerson(person_id=ANA, unit_id=unit_id)


def move(unit_id: UUID | None) -> MovePerson:
    return MovePerson(person_id=ANA, unit_id=unit_id)


def test_a_person_joins_a_unit_or_none() -> None:
    person_spec.when(enter()).then(registered())
    person_spec.when(enter(None)).then(registered(None))


def test_joining_again_changes_nothing_also_after_a_move() -> None:
    moved = PersonMoved(person_id=ANA, unit_id=MARKETING)
    person_spec.given(registered()).when(enter()).then_nothing()
    person_spec.given(registered(), moved).when(enter()).then_nothing()


def test_the_same_id_joining_another_unit_is_refused() -> None:
    person_spec.given(registered()).when(enter(MARKETING)).then_already_exists("PERSON_ALREADY_EXISTS")


def test_a_person_moves() -> None:
    person_spec.given(registered()).when(move(MARKETING)).then(PersonMoved(person_id=ANA, unit_id=MARKETING))
    person_spec.given(registered()).when(move(None)).then(PersonMoved(person_id=ANA, unit_id=None))
    person_spec.given(registered()).when(move(SALES)).then_nothing()


def test_only_a_registered_person_moves() -> None:
    person_spec.when(move(SALES)).then_not_found("PERSON_NOT_FOUND")


def test_a_handle_that_somebody_else_has_is_refused() -> None:
    command = EnterPerson(person_id=ANA, identity="handle_taken")
    person_spec.when(command).then_refused("HANDLE_TAKEN")


def test_the_same_person_under_another_name_is_refused() -> None:
    command = EnterPerson(person_id=ANA, unit_id=SALES, identity="differs")
    person_spec.given(registered()).when(command).then_already_exists("PERSON_ALREADY_EXISTS")


ERASED = PersonErased(person_id=ANA)


def erase(known: bool = False) -> ErasePerson:
    return ErasePerson(person_id=ANA, known=known)


def test_whoever_is_registered_or_wrote_something_can_be_erased() -> None:
    person_spec.given(registered()).when(erase()).then(ERASED)
    person_spec.when(erase(known=True)).then(ERASED)
    person_spec.when(erase()).then_not_found("PERSON_NOT_FOUND")


def test_erasing_is_for_ever() -> None:
    person_spec.given(registered(), ERASED).when(erase()).then_nothing()
    for command in (enter(), enter(MARKETING), move(SALES), move(MARKETING)):
        person_spec.given(registered(), ERASED).when(command).then_refused("PERSON_ERASED")
    person_spec.given(ERASED).when(enter()).then_refused("PERSON_ERASED")
