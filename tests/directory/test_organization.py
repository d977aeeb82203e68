"""Rules of an organisation and its tree of units."""

from uuid import UUID

import pytest

from okr_contracts.directory import OrganizationEvent, OrganizationFounded, UnitAdded, UnitMoved, UnitRenamed
from okr_directory.decider import organization as rules
from okr_directory.decider.organization import AddUnit, FoundOrganization, MoveUnit, RenameUnit, organizations
from tests.support.spec import spec, violations

ORGANIZATION = UUID(int=1)
SALES, INSIDE_SALES, MARKETING, NOWHERE = (UUID(int=number) for number in (10, 11, 12, 99))

organization_spec = spec(organizations)


def founded(name: str = "Bakery") -> OrganizationFounded:
    return OrganizationFounded(organization_id=ORGANIZATION, name=name, time_zone="UTC")


def found(name: str = "Bakery", time_zone: str = "UTC") -> FoundOrganization:
    return FoundOrganization(organization_id=ORGANIZATION, name=name, time_zone=time_zone)


def added(unit_id: UUID, name: str, parent: UUID | None = None) -> UnitAdded:
    return UnitAdded(unit_id=unit_id, name=name, kind="department", parent_unit_id=parent)


def add(unit_id: UUID, name: str, parent: UUID | None = None) -> AddUnit:
    return AddUnit(organization_id=ORGANIZATION, unit_id=unit_id, name=name, kind="department", parent_unit_id=parent)


def rename(unit_id: UUID, name: str) -> RenameUnit:
    return RenameUnit(organization_id=ORGANIZATION, unit_id=unit_id, name=name)


def move(unit_id: UUID, parent: UUID | None) -> MoveUnit:
    return MoveUnit(organization_id=ORGANIZATION, unit_id=unit_id, parent_unit_id=parent)


TREE: tuple[OrganizationEvent, ...] = (
    founded(),
    added(SALES, "Sales"),
    added(INSIDE_SALES, "Inside sales", SALES),
    added(MARKETING, "Marketing"),
)


def test_an_organisation_is_founded_once() -> None:
    organization_spec.when(found()).then(founded())
    organization_spec.given(founded()).when(found()).then_nothing()


def test_founding_it_again_under_another_name_is_refused() -> None:
    organization_spec.given(founded()).when(found("Butcher")).then_already_exists("ORGANIZATION_ALREADY_EXISTS")


def test_founding_it_again_in_another_time_zone_is_refused() -> None:
    organization_spec.given(founded()).when(found(time_zone="Europe/Lisbon")).then_already_exists(
        "ORGANIZATION_ALREADY_EXISTS"
    )


def test_the_time_zone_is_utc_unless_told_and_has_to_be_known() -> None:
    assert found(time_zone="").time_zone == "UTC"
    assert violations(lambda: found(time_zone="Moon/Tranquility")) == ["time_zone"]


@pytest.mark.parametrize("command", [add(SALES, "Sales"), rename(SALES, "Sales"), move(SALES, None)])
def test_an_organisation_has_to_be_founded_first(command: rules.OrganizationCommand) -> None:
    organization_spec.when(command).then_not_found("ORGANIZATION_NOT_FOUND")


def test_units_are_added_at_the_top_or_below_another() -> None:
    organization_spec.given(founded()).when(add(SALES, "Sales")).then(added(SALES, "Sales"))
    organization_spec.given(founded(), added(SALES, "Sales")).when(add(INSIDE_SALES, "Inside", SALES)).then(
        added(INSIDE_SALES, "Inside", SALES)
    )


def test_the_parent_has_to_exist() -> None:
    organization_spec.given(founded()).when(add(SALES, "Sales", NOWHERE)).then_not_found("UNIT_NOT_FOUND")


def test_adding_the_same_unit_again_changes_nothing() -> None:
    organization_spec.given(*TREE).when(add(SALES, "Sales")).then_nothing()


def test_a_taken_id_with_other_content_is_refused() -> None:
    organization_spec.given(*TREE).when(add(SALES, "Purchase")).then_already_exists("UNIT_ALREADY_EXISTS")


@pytest.mark.parametrize("name", ["Sales", "SALES", "sALES"])
def test_siblings_have_different_names(name: str) -> None:
    organization_spec.given(*TREE).when(add(NOWHERE, name)).then_refused("UNIT_NAME_TAKEN")
    organization_spec.given(*TREE).when(rename(MARKETING, name)).then_refused("UNIT_NAME_TAKEN")


def test_spacing_makes_no_other_name() -> None:
    organization_spec.given(*TREE).when(add(NOWHERE, "inside   Sales", SALES)).then_refused("UNIT_NAME_TAKEN")


def test_the_same_name_elsewhere_in_the_tree_is_fine() -> None:
    organization_spec.given(*TREE).when(add(NOWHERE, "Sales", MARKETING)).then(added(NOWHERE, "Sales", MARKETING))


def test_a_unit_is_renamed() -> None:
    organization_spec.given(*TREE).when(rename(SALES, "Revenue")).then(UnitRenamed(unit_id=SALES, name="Revenue"))
    organization_spec.given(*TREE).when(rename(SALES, "SALES")).then(UnitRenamed(unit_id=SALES, name="SALES"))
    organization_spec.given(*TREE).when(rename(SALES, "Sales")).then_nothing()
    organization_spec.given(*TREE).when(rename(NOWHERE, "Sales")).then_not_found("UNIT_NOT_FOUND")


def test_a_unit_moves_with_all_below_it() -> None:
    organization_spec.given(*TREE).when(move(SALES, MARKETING)).then(UnitMoved(unit_id=SALES, parent_unit_id=MARKETING))
    organization_spec.given(*TREE).when(move(INSIDE_SALES, None)).then(
        UnitMoved(unit_id=INSIDE_SALES, parent_unit_id=None)
    )
    organization_spec.given(*TREE).when(move(INSIDE_SALES, SALES)).then_nothing()


@pytest.mark.parametrize("parent", [SALES, INSIDE_SALES])
def test_a_unit_never_moves_below_itself(parent: UUID) -> None:
    organization_spec.given(*TREE).when(move(SALES, parent)).then_refused("UNIT_LOOP")


def test_a_move_needs_a_unit_and_a_parent_that_exist() -> None:
    organization_spec.given(*TREE).when(move(NOWHERE, SALES)).then_not_found("UNIT_NOT_FOUND")
    organization_spec.given(*TREE).when(move(SALES, NOWHERE)).then_not_found("UNIT_NOT_FOUND")


def test_a_move_beside_a_unit_of_the_same_name_is_refused() -> None:
    tree = (*TREE, added(NOWHERE, "marketing", SALES))
    organization_spec.given(*tree).when(move(NOWHERE, None)).then_refused("UNIT_NAME_TAKEN")


def test_the_tree_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_UNITS", 3)
    organization_spec.given(*TREE).when(add(NOWHERE, "Purchase")).then_refused("TOO_MANY_UNITS")
