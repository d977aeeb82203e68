"""A whole spreadsheet through gRPC: refused with every fault, or carried out to the end."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest

from okr.alignment.v1 import alignment_pb2
from okr.checkins.v1 import checkins_pb2
from okr.directory.v1 import directory_pb2
from okr.goals.v1 import goals_pb2 as pb
from okr.operations.v1 import operations_pb2, operations_pb2_grpc
from okr_chassis.clock import ManualClock
from okr_chassis.rpc.channels import connect
from tests.goals.conftest import SERVICES
from tests.goals.office import Office
from tests.support.house import Desk, House, house, new_id, refused

COMPANY = "Bread that people cross town for"


def row(number: int, **changes: Any) -> pb.PlanRow:
    fields: dict[str, Any] = {
        "row": number,
        "objective": COMPANY,
        "department": "Bakery",
        "owner": "Ana Souza",
        "key_result": "Weekly regulars",
        "champions": ["Ana Souza", "Ben Okafor"],
        "start": "120",
        "commit": "150",
        "target": "200",
        "unit": "people",
        "current": "135",
        "confidence": "0.6",
        "due_on": "2026-03-31",
    }
    return pb.PlanRow(**(fields | changes))


def sheet() -> list[pb.PlanRow]:
    """A child first, so that its parent stands below it, as sheets happen to be."""
    shop = {"objective": "A shop people like to wait in", "department": "Shop", "owner": "Cleo"}
    return [
        row(2, **shop, parent_objective=COMPANY.upper(), key_result="Minutes in line", champions=["Cleo"],
            start="9", commit="", target="4", unit="min", current="7.5", confidence=""),
        row(3, **shop, key_result="Rating", champions=["Cleo", "ana souza"], start="4.2", commit="4.5", target="4.7",
            unit="stars", current="", due_on=""),
        row(4),
        row(5, key_result="Sold out by noon", start="1", commit="3", target="5", unit="days", current="1"),
    ]  # fmt: skip


def plan(rows: Sequence[pb.PlanRow], **changes: Any) -> pb.ImportPlanRequest:
    fields: dict[str, Any] = {
        "request_id": new_id(),
        "source": "okrs.xlsx",
        "cycle_name": "Q1 2026",
        "cycle_starts_on": "2026-01-01",
        "cycle_ends_on": "2026-03-31",
        "organization_name": "Old Town Bakery",
    }
    return pb.ImportPlanRequest(rows=rows, **(fields | changes))


async def imported(house: House, desk: Desk, rows: Sequence[pb.PlanRow], **changes: Any) -> pb.ImportPlanResponse:
    """Accepted without a fault, and carried out."""
    answer: pb.ImportPlanResponse = await desk.goals.ImportPlan(plan(rows, **changes))
    assert not answer.faults
    await house.platform.wait_idle()
    return answer


async def objectives(desk: Desk) -> dict[str, pb.Objective]:
    answer = await desk.goals.ListObjectives(pb.ListObjectivesRequest())
    return {objective.title: objective for objective in answer.objectives}


async def everything(house: House, desk: Desk) -> int:
    """How many events the organisation has in all logs."""
    total = 0
    for name in ("directory", "goals", "checkins", "alignment"):
        database = house.platform.services[name].host.database
        total += await database.fetchval("SELECT count(*) FROM event WHERE organization_id = $1", desk.organization_id)
    return total


async def test_a_sheet_becomes_an_organisation_with_its_objectives(goals_house: House) -> None:
    desk = goals_house.desk()
    answer = await imported(goals_house, desk, sheet())
    assert answer.effects == pb.PlanEffects(
        departments_added=2,
        people_registered=3,
        objectives_drafted=2,
        key_results_defined=4,
        champions_assigned=7,
        alignments=1,
        check_ins=3,
    )
    organization = (await desk.directory.GetOrganization(directory_pb2.GetOrganizationRequest())).organization
    assert organization.name == "Old Town Bakery"
    people = (await desk.directory.ListPeople(directory_pb2.ListPeopleRequest())).people
    assert {person.handle: person.name for person in people} == {
        "ana.souza": "Ana Souza",
        "ben.okafor": "Ben Okafor",
        "cleo": "Cleo",
    }
    found = await objectives(desk)
    shop = found["A shop people like to wait in"]
    assert shop.state == pb.OBJECTIVE_STATE_ACTIVE
    assert [(each.title, each.type, each.commit, each.open) for each in shop.key_results] == [
        ("Minutes in line", pb.KEY_RESULT_TYPE_DECREASE, "6.5", True),
        ("Rating", pb.KEY_RESULT_TYPE_INCREASE, "4.5", True),
    ]
    assert shop.key_results[1].due_on == "2026-03-31"
    assert [champion.role for champion in shop.key_results[1].champions] == [
        pb.CHAMPION_ROLE_ACCOUNTABLE,
        pb.CHAMPION_ROLE_RESPONSIBLE,
    ]


async def test_a_stated_parent_becomes_an_alignment_and_a_current_value_a_check_in(goals_house: House) -> None:
    desk = goals_house.desk()
    await imported(goals_house, desk, sheet())
    found = await objectives(desk)
    shop, company = found["A shop people like to wait in"], found[COMPANY]
    tree = await desk.alignment.GetTree(alignment_pb2.GetTreeRequest(cycle_id=shop.cycle_id))
    assert [(edge.objective_id, edge.parent_objective_id) for edge in tree.edges] == [
        (shop.objective_id, company.objective_id)
    ]
    request = checkins_pb2.ListCheckInsRequest(key_result_id=shop.key_results[0].key_result_id)
    (check_in,) = (await desk.checkins.ListCheckIns(request)).check_ins
    assert (check_in.value, check_in.confidence, check_in.person_id) == ("7.5", "0.5", str(desk.person_id))
    assert check_in.occurred_at == "2026-02-14T12:00:00Z"


async def test_progress_of_an_import_can_be_asked_for(goals_house: House) -> None:
    desk = goals_house.desk()
    answer = await imported(goals_house, desk, sheet())
    told = await desk.goals.GetImport(pb.GetImportRequest(import_id=answer.import_id))
    assert (told.state, told.rows_done, told.rows_total, list(told.refused)) == (pb.IMPORT_STATE_COMPLETED, 4, 4, [])
    assert {position.split(":")[0] for position in told.positions} == {"directory", "goals", "alignment", "checkins"}
    with refused(grpc.StatusCode.NOT_FOUND, "IMPORT_NOT_FOUND"):
        await desk.goals.GetImport(pb.GetImportRequest(import_id=new_id()))


async def test_a_dry_run_says_what_would_happen_and_does_nothing(goals_house: House) -> None:
    desk = goals_house.desk()
    dry = await desk.goals.ImportPlan(plan(sheet(), validate_only=True))
    assert not dry.HasField("receipt")
    assert await everything(goals_house, desk) == 0
    answer = await imported(goals_house, desk, sheet())
    assert answer.effects == dry.effects
    assert answer.import_id == dry.import_id


async def test_importing_again_changes_nothing_also_when_command_rows_have_expired(own_house: House) -> None:
    desk = own_house.desk()
    await imported(own_house, desk, sheet())
    for name in ("directory", "goals", "checkins", "alignment"):
        await own_house.platform.services[name].host.database.execute("DELETE FROM command")
    before = await everything(own_house, desk)
    again = await imported(own_house, desk, sheet())
    assert again.effects == pb.PlanEffects(unchanged_rows=4)
    assert await everything(own_house, desk) == before
    dry = await desk.goals.ImportPlan(plan(sheet(), validate_only=True))
    assert dry.effects == pb.PlanEffects(unchanged_rows=4)


async def test_the_same_sheet_in_another_order_of_decimals_is_the_same(goals_house: House) -> None:
    desk = goals_house.desk()
    first = await imported(goals_house, desk, [row(4)])
    again = await imported(goals_house, desk, [row(9, start="120.0", target="2e2")], source="copy of okrs.csv")
    assert again.import_id == first.import_id
    assert again.effects.unchanged_rows == 1


async def test_a_resend_gets_the_first_answer(goals_house: House) -> None:
    desk = goals_house.desk()
    request = plan(sheet())
    first = await desk.goals.ImportPlan(request)
    await goals_house.platform.wait_idle()
    assert await desk.goals.ImportPlan(request) == first


async def test_a_changed_sheet_changes_only_what_differs(goals_house: House) -> None:
    desk = goals_house.desk()
    await imported(goals_house, desk, sheet())
    rows = sheet()
    rows[2] = row(4, target="220", champions=["Ben Okafor"], current="140")
    before = await everything(goals_house, desk)
    answer = await imported(goals_house, desk, rows)
    assert answer.effects == pb.PlanEffects(targets_revised=1, champions_assigned=2, check_ins=1, unchanged_rows=3)
    key_result = (await objectives(desk))[COMPANY].key_results[0]
    assert (key_result.target, key_result.commit) == ("220", "150")
    assert {(each.person_id, each.role) for each in key_result.champions} >= {
        (key_result.champions[-1].person_id, pb.CHAMPION_ROLE_ACCOUNTABLE)
    }
    # accepted, 2 planned, revised, released, 2 assigned, 2 applied, completed, and the check-in
    assert await everything(goals_house, desk) - before == 11


async def test_units_people_and_objectives_that_exist_win_over_new_ones(office: Office, goals_house: House) -> None:
    cycle_id = await office.active_cycle()
    objective_id = await office.draft(cycle_id)
    key_result_id = await office.define(objective_id)
    await office.activate(objective_id)
    await goals_house.platform.wait_idle()
    same = row(2, objective="  grow ", department="SALES", owner="ANA", key_result="trials", champions=["ana souza"],
               start="0", commit="", target="100.0", unit="trials", current="12", due_on="")  # fmt: skip
    answer = await imported(goals_house, office.desk, [same], cycle_name="q1 2026")
    assert answer.effects == pb.PlanEffects(check_ins=1)
    found = (await objectives(office.desk))["Grow"]
    assert found.objective_id == objective_id
    assert [each.key_result_id for each in found.key_results] == [key_result_id]


async def test_every_fault_of_a_sheet_is_told_at_once_with_row_and_column(goals_house: House) -> None:
    desk = goals_house.desk()
    rows = [
        row(2, start="NaN", target="Infinity", commit="many"),
        row(3, key_result="A", start="5", target="5", commit="5"),
        row(4, key_result="B", commit="201"),
        row(5, key_result="C", commit="120"),
        row(6, key_result="D", confidence="1.2"),
        row(7, key_result="E", due_on="2026-04-01"),
        row(8, key_result="F", champions=[]),
        row(9, key_result="G", champions=["Ana Souza", "Ana  souza"]),
        row(10, key_result="H", champions=[f"Person {number}" for number in range(9)]),
        row(11, key_result="I", owner="Ben Okafor"),
        row(12, key_result="Weekly regulars"),
        row(13, key_result="weekly  regulars"),
        row(14, objective="Other", parent_objective="Nowhere"),
        row(15, key_result="nul\x00"),
        row(16, objective="", department="x" * 300, owner="!!!", unit="", due_on="soon"),
        row(17, key_result="J", owner="!!!"),
    ]
    before = await everything(goals_house, desk)
    answer = await desk.goals.ImportPlan(plan(rows))
    assert [(fault.row, fault.column, fault.reason) for fault in answer.faults] == [
        (2, "start", "NUMBER_EXPECTED"),
        (2, "commit", "NUMBER_EXPECTED"),
        (2, "target", "NUMBER_EXPECTED"),
        (3, "target", "START_EQUALS_TARGET"),
        (4, "commit", "COMMIT_BEYOND_TARGET"),
        (5, "commit", "COMMIT_BEFORE_START"),
        (6, "confidence", "CONFIDENCE_OUT_OF_RANGE"),
        (7, "due_on", "DUE_OUTSIDE_CYCLE"),
        (8, "champions", "NO_ACCOUNTABLE"),
        (9, "champions", "CHAMPION_REPEATED"),
        (10, "champions", "TOO_MANY_CHAMPIONS"),
        (11, "owner", "OWNER_DIFFERS"),
        (13, "key_result", "KEY_RESULT_REPEATED"),
        (14, "parent_objective", "PARENT_NOT_FOUND"),
        (15, "key_result", "TEXT_WITH_NUL"),
        (16, "objective", "REQUIRED"),
        (16, "department", "TEXT_TOO_LONG"),
        (16, "unit", "REQUIRED"),
        (16, "due_on", "DAY_EXPECTED"),
        (17, "owner", "NO_NAME"),
        (17, "owner", "OWNER_DIFFERS"),
    ]
    assert all(fault.message for fault in answer.faults)
    assert await everything(goals_house, desk) == before


async def test_a_parent_whose_own_row_is_faulty_is_not_missed(goals_house: House) -> None:
    rows = [row(2, target="NaN"), row(3, objective="Leaf", parent_objective=COMPANY)]
    answer = await goals_house.desk().goals.ImportPlan(plan(rows))
    assert [(fault.row, fault.column) for fault in answer.faults] == [(2, "target")]


async def test_two_hundred_faults_are_all_told(goals_house: House) -> None:
    rows = [row(number, key_result=f"Key result {number}", target="NaN") for number in range(2, 202)]
    answer = await goals_house.desk().goals.ImportPlan(plan(rows))
    assert len(answer.faults) == 200


async def test_loops_of_parents_are_refused_in_the_file_and_with_what_is_there(goals_house: House) -> None:
    desk = goals_house.desk()
    loop = [row(2, objective="A", parent_objective="B"), row(3, objective="B", parent_objective="A")]
    answer = await desk.goals.ImportPlan(plan(loop))
    assert [(fault.row, fault.reason) for fault in answer.faults] == [
        (2, "ALIGNMENT_CLOSES_LOOP"),
        (3, "ALIGNMENT_CLOSES_LOOP"),
    ]
    await imported(goals_house, desk, [row(2, objective="A", parent_objective="B"), row(3, objective="B")])
    answer = await desk.goals.ImportPlan(plan([row(3, objective="B", parent_objective="A")]))
    assert [(fault.row, fault.column, fault.reason) for fault in answer.faults] == [
        (3, "parent_objective", "ALIGNMENT_CLOSES_LOOP")
    ]
    alone = await desk.goals.ImportPlan(plan([row(2, objective="A", parent_objective="A")]))
    assert [fault.reason for fault in alone.faults] == ["ALIGNMENT_CLOSES_LOOP"]


async def test_a_line_of_sight_has_a_limit(goals_house: House) -> None:
    rows = [row(2, objective="O 0")]
    rows += [row(2 + number, objective=f"O {number}", parent_objective=f"O {number - 1}") for number in range(1, 7)]
    answer = await goals_house.desk().goals.ImportPlan(plan(rows))
    assert {fault.reason for fault in answer.faults} == {"ALIGNMENT_TOO_DEEP"}


async def test_what_cannot_change_is_refused_cell_by_cell(goals_house: House) -> None:
    desk = goals_house.desk()
    await imported(goals_house, desk, [row(2)])
    changed = row(2, start="121", unit="guests", due_on="2026-03-30", owner="Ben Okafor")
    answer = await desk.goals.ImportPlan(plan([changed]))
    assert [(fault.column, fault.reason) for fault in answer.faults] == [
        ("start", "KEY_RESULT_ALREADY_EXISTS"),
        ("unit", "KEY_RESULT_ALREADY_EXISTS"),
        ("due_on", "KEY_RESULT_ALREADY_EXISTS"),
        ("owner", "OBJECTIVE_ALREADY_EXISTS"),
    ]


@pytest.mark.parametrize(
    ("days", "column", "reason"),
    [
        ({"cycle_ends_on": "2026-01-01"}, "cycle_ends_on", "CYCLE_ENDS_BEFORE_START"),
        ({"cycle_ends_on": "2027-12-31"}, "cycle_ends_on", "CYCLE_TOO_LONG"),
    ],
)
async def test_impossible_cycles_are_faults_of_the_whole_file(
    goals_house: House, days: dict[str, str], column: str, reason: str
) -> None:
    answer = await goals_house.desk().goals.ImportPlan(plan([row(2, due_on="2026-01-01")], **days))
    assert (0, column, reason) in [(fault.row, fault.column, fault.reason) for fault in answer.faults]


async def test_a_cycle_keeps_its_days(goals_house: House) -> None:
    desk = goals_house.desk()
    await imported(goals_house, desk, [row(2)])
    answer = await desk.goals.ImportPlan(plan([row(2)], cycle_ends_on="2026-04-30"))
    assert (0, "cycle_starts_on", "CYCLE_ALREADY_EXISTS") in [
        (fault.row, fault.column, fault.reason) for fault in answer.faults
    ]


async def test_an_import_needs_an_organisation_or_its_name(goals_house: House) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND"):
        await goals_house.desk().goals.ImportPlan(plan([row(2)], organization_name=""))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"request_id": "1"}, "request_id"),
        ({"source": ""}, "source"),
        ({"source": "x" * 2**18}, "source"),
        ({"cycle_name": "nul\x00"}, "cycle_name"),
        ({"cycle_starts_on": "yesterday"}, "cycle_starts_on"),
    ],
)
async def test_a_malformed_request_is_refused_before_any_row_is_read(
    goals_house: House, changes: dict[str, str], field: str
) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT) as answer:
        await goals_house.desk().goals.ImportPlan(plan([row(2)], **changes))
    assert [violation.field for violation in answer.refusal.violations] == [field]


@pytest.mark.parametrize("rows", [0, 5001])
async def test_a_plan_has_one_row_to_five_thousand(goals_house: House, rows: int) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await goals_house.desk().goals.ImportPlan(plan([pb.PlanRow(row=2)] * rows))


async def test_before_the_cycle_begins_only_the_start_is_a_current_value(own_house: House, clock: ManualClock) -> None:
    clock.set(datetime(2025, 12, 15, tzinfo=UTC))
    desk = own_house.desk()
    answer = await desk.goals.ImportPlan(plan([row(2)]))
    assert [(fault.column, fault.reason) for fault in answer.faults] == [("current", "CHECK_IN_BEFORE_CYCLE")]
    assert (await imported(own_house, desk, [row(2, current="120")])).effects.check_ins == 0


async def test_two_people_of_one_name_have_to_be_told_apart(office: Office, goals_house: House) -> None:
    await office.desk.directory.RegisterPerson(
        directory_pb2.RegisterPersonRequest(
            request_id=new_id(), person_id=new_id(), handle="ana2", name="Ana Souza", email="ana2@bakery.org"
        )
    )
    await goals_house.platform.wait_idle()
    answer = await office.goals.ImportPlan(plan([row(2, champions=["ana"])]))
    assert [(fault.column, fault.reason) for fault in answer.faults] == [("owner", "PERSON_AMBIGUOUS")]
    assert "ana, ana2" in answer.faults[0].message
    await imported(goals_house, office.desk, [row(2, owner="ana2@bakery.org", champions=["ana2", "ana"])])


async def test_names_of_people_never_enter_the_log(goals_house: House) -> None:
    desk = goals_house.desk()
    await imported(goals_house, desk, [row(2, owner="Zoë van Dijk <zoe@old-town.org>")])
    database = goals_house.platform.services["goals"].host.database
    stored = await database.fetch(
        "SELECT concat(data, metadata, actor) AS event FROM event WHERE organization_id = $1", desk.organization_id
    )
    text = " ".join(each["event"] for each in stored)
    for secret in ("Souza", "souza", "Okafor", "Dijk", "old-town"):
        assert secret not in text
    people = (await desk.directory.ListPeople(directory_pb2.ListPeopleRequest(handle="zoe.van.dijk"))).people
    assert [(person.name, person.email) for person in people] == [("Zoë van Dijk", "zoe@old-town.org")]


async def test_an_import_that_was_interrupted_goes_on_where_it_stopped(own_house: House) -> None:
    """The events are heard once more from the beginning, as after a crash before the checkpoint moved."""
    desk = own_house.desk()
    answer = await imported(own_house, desk, sheet())
    before = await everything(own_house, desk)
    running = own_house.platform.services["goals"]
    carrier = next(runner for runner in running.runners if runner.name == "goals.imports")
    stream = f"import-{answer.import_id}"
    log = running.host.log
    assert log is not None
    events = await log.read_stream(desk.organization_id, stream)
    await running.host.database.execute("DELETE FROM command")
    react = carrier.subscription.react
    assert react is not None
    await react(events)
    assert await everything(own_house, desk) == before


async def test_an_accepted_import_is_carried_out_after_a_restart(
    fresh_dsn: str, tmp_path: Path, clock: ManualClock
) -> None:
    """The process ends right behind the acceptance; the next one finishes what was promised."""
    rows = [row(number, objective=f"Objective {number}", key_result=f"Key result {number}") for number in range(2, 42)]
    async with house(fresh_dsn, tmp_path, SERVICES, clock) as first:
        desk = first.desk()
        carrier = next(each for each in first.platform.services["goals"].runners if each.name == "goals.imports")
        await carrier.close()
        answer = await desk.goals.ImportPlan(plan(rows))
        told = await desk.goals.GetImport(
            pb.GetImportRequest(import_id=answer.import_id, min_positions=[answer.receipt.position])
        )
        assert (told.state, told.rows_done, told.rows_total) == (pb.IMPORT_STATE_RUNNING, 0, 40)
    async with house(fresh_dsn, tmp_path, SERVICES, clock) as second:
        desk = second.desk(desk.organization_id, desk.person_id)
        await second.platform.wait_idle()
        told = await desk.goals.GetImport(pb.GetImportRequest(import_id=answer.import_id))
        assert (told.state, told.rows_done, list(told.refused)) == (pb.IMPORT_STATE_COMPLETED, 40, [])
        assert len(await objectives(desk)) == 40


async def test_a_row_that_the_world_overtook_is_refused_alone(own_house: House) -> None:
    """Between acceptance and its turn somebody closed the objective: its rows say so, the others are applied."""
    desk = own_house.desk()
    await imported(own_house, desk, [row(2)])
    company = (await objectives(desk))[COMPANY]
    running = own_house.platform.services["goals"]
    carrier = next(runner for runner in running.runners if runner.name == "goals.imports")
    await carrier.close()
    rows = [row(2, target="230"), row(3, objective="Another", key_result="Loaves a day", current="")]
    answer = await desk.goals.ImportPlan(plan(rows))
    assert not answer.faults
    await desk.goals.CloseObjective(
        pb.CloseObjectiveRequest(
            request_id=new_id(), objective_id=company.objective_id, outcome=pb.OBJECTIVE_OUTCOME_PARTLY
        )
    )
    log, react = running.host.log, carrier.subscription.react
    assert log is not None
    assert react is not None
    await react(await log.read_stream(desk.organization_id, f"import-{answer.import_id}"))
    position = (await desk.goals.ImportPlan(plan(rows))).receipt.position
    told = await desk.goals.GetImport(pb.GetImportRequest(import_id=answer.import_id, min_positions=[position]))
    assert told.state == pb.IMPORT_STATE_COMPLETED
    assert [(fault.row, fault.reason) for fault in told.refused] == [(2, "OBJECTIVE_CLOSED")]
    assert (await objectives(desk))["Another"].state == pb.OBJECTIVE_STATE_ACTIVE


async def test_every_read_model_folds_to_the_same_rows_afresh(goals_house: House) -> None:
    desk = goals_house.desk()
    await imported(goals_house, desk, sheet())
    await imported(goals_house, desk, [row(4, target="220", champions=["Ben Okafor"], current="140")])
    issuer = goals_house.platform.issuer
    assert issuer is not None
    token = issuer.issue(desk.organization_id, desk.person_id, operator=True)
    channel = connect(goals_house.platform.address, lambda: token)
    try:
        operations = operations_pb2_grpc.OperationsServiceStub(channel)
        verdicts = {
            (answer.service, answer.projection): answer.verdict.equal
            async for answer in operations.Verify(operations_pb2.VerifyRequest())
            if answer.HasField("verdict")
        }
    finally:
        await channel.close()
    assert {("goals", "goals.plans"), ("goals", "goals.directory"), ("goals", "goals.check_ins")} <= verdicts.keys()
    assert ("directory", "directory.structure") in verdicts
    assert all(verdicts.values()), verdicts


async def test_other_organisations_are_not_seen(goals_house: House) -> None:
    first, second = goals_house.desk(), goals_house.desk()
    one = await imported(goals_house, first, sheet())
    two = await imported(goals_house, second, sheet())
    assert one.import_id != two.import_id
    assert two.effects == one.effects
    assert {UUID(each.objective_id) for each in (await objectives(first)).values()}.isdisjoint(
        UUID(each.objective_id) for each in (await objectives(second)).values()
    )
    with refused(grpc.StatusCode.NOT_FOUND):
        await second.goals.GetImport(pb.GetImportRequest(import_id=one.import_id))
