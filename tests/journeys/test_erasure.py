"""What people write is sealed wherever it lies, and gone everywhere once they are erased."""

import asyncio
import json
import logging
import os
import warnings
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc import aio

import okr_checkins.__main__ as checkins
import okr_directory.__main__ as directory
import okr_goals.__main__ as goals
from okr.checkins.v1 import checkins_pb2
from okr.directory.v1 import directory_pb2, vault_pb2
from okr.directory.v1.directory_pb2_grpc import DirectoryServiceStub
from okr.eventlog.v1 import eventlog_pb2
from okr.eventlog.v1.eventlog_pb2_grpc import EventLogServiceStub
from okr.goals.v1 import goals_pb2
from okr.insights.v1 import insights_pb2
from okr.operations.v1 import operations_pb2
from okr.operations.v1.operations_pb2_grpc import OperationsServiceStub
from okr_chassis.identity.auth import PERSON_PREFIX, Caller, calling
from okr_chassis.platform import Platform
from okr_chassis.rpc.channels import connect
from okr_chassis.sealing import KEYS_KEPT_SECONDS
from okr_chassis.settings import Settings
from okr_directory.decider.person import ErasePerson, people
from tests.journeys.town import FEBRUARY, Town
from tests.support.house import Desk, new_id, refused

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
CANARIES = {
    "note": "the canary of the note sings",
    "new note": "the canary of the second note sings",
    "correction": "the canary of the correction sings",
    "revision": "the canary of the revision sings",
}
ERASED = dict.fromkeys(CANARIES, "erased")


class Operator:
    """Whoever runs the platform, as far as an organisation needs it."""

    def __init__(self, channel: aio.Channel) -> None:
        self.directory: Any = DirectoryServiceStub(channel)
        self.operations: Any = OperationsServiceStub(channel)


@pytest.fixture
async def operator(place: Town) -> AsyncIterator[Operator]:
    issuer = place.house.platform.issuer
    assert issuer is not None
    token = issuer.issue(place.ana.organization_id, uuid4(), operator=True)
    channel = connect(place.house.platform.address, lambda: token, deadline_seconds=30.0)
    yield Operator(channel)
    await channel.close()


@dataclass
class Written:
    """What Ana wrote: one check-in, its correction, one revision."""

    check_in: checkins_pb2.RecordCheckInRequest
    revision: goals_pb2.ReviseTargetRequest


def check_in_of(place: Town, note: str, **more: str) -> checkins_pb2.RecordCheckInRequest:
    given: dict[str, Any] = {"request_id": new_id(), "check_in_id": new_id(), "value": "24", "note": note} | more
    return checkins_pb2.RecordCheckInRequest(key_result_id=place.key_result_id, **given)


async def write(place: Town, desk: Desk) -> Written:
    """All the free text there is, by the desk's person."""
    place.clock.set(FEBRUARY)
    check_in = check_in_of(place, CANARIES["note"])
    await desk.checkins.RecordCheckIn(check_in)
    place.clock.advance(timedelta(hours=1))
    await desk.checkins.CorrectCheckIn(
        checkins_pb2.CorrectCheckInRequest(
            request_id=new_id(),
            check_in_id=check_in.check_in_id,
            key_result_id=place.key_result_id,
            value="23",
            note=CANARIES["new note"],
            reason=CANARIES["correction"],
        )
    )
    revision = goals_pb2.ReviseTargetRequest(
        request_id=new_id(),
        objective_id=place.objective_id,
        key_result_id=place.key_result_id,
        target="32",
        reason=CANARIES["revision"],
    )
    await desk.goals.ReviseTarget(revision)
    await place.settle()
    return Written(check_in, revision)


async def erase(operator: Operator, desk: Desk) -> str:
    request = directory_pb2.ErasePersonRequest(request_id=new_id(), person_id=str(desk.person_id))
    position: str = (await operator.directory.ErasePerson(request)).receipt.position
    return position


async def shown_in_history(place: Town) -> dict[str, str]:
    answer = await place.ben.insights.GetKeyResultHistory(
        insights_pb2.GetKeyResultHistoryRequest(key_result_id=place.key_result_id)
    )
    kinds = {"CheckInRecorded": "note", "CheckInCorrected": "correction", "TargetRevised": "revision"}
    return {kinds[entry.kind]: entry.note for entry in answer.entries if entry.kind in kinds}


async def shown_in_lists(place: Town, check_in_id: str) -> set[str]:
    listed = await place.ben.checkins.ListCheckIns(checkins_pb2.ListCheckInsRequest(key_result_id=place.key_result_id))
    one = await place.ben.checkins.GetCheckIn(checkins_pb2.GetCheckInRequest(check_in_id=check_in_id))
    return {listed.check_ins[0].note, listed.latest.note, one.check_in.note}


async def shown_in_tail(place: Town) -> dict[str, str]:
    found: dict[str, str] = {}
    tail: Any = EventLogServiceStub(place.ben.channel)
    for service in ("checkins", "goals"):
        async for response in tail.TailEvents(eventlog_pb2.TailEventsRequest(service=service)):
            data = json.loads(response.event.data)
            match response.event.type:
                case "CheckInRecorded":
                    found["note"] = data["note"]
                case "CheckInCorrected":
                    found |= {"new note": data["note"], "correction": data["reason"]}
                case "TargetRevised":
                    found["revision"] = data["reason"]
    return found


async def shown_name(place: Town, desk: Desk) -> str:
    request = directory_pb2.ListPeopleRequest(person_ids=[str(desk.person_id)])
    (person,) = (await place.ben.directory.ListPeople(request)).people
    return str(person.name)


async def everything_shown(place: Town, check_in_id: str) -> tuple[dict[str, str], set[str], dict[str, str]]:
    return await shown_in_history(place), await shown_in_lists(place, check_in_id), await shown_in_tail(place)


async def rebuild_all(operator: Operator) -> None:
    for service in ("checkins", "goals", "insights", "directory"):
        async for step in operator.operations.Rebuild(operations_pb2.RebuildRequest(service=service)):
            assert step.equal or not step.switched, step
    verdicts = [
        step.verdict.equal
        async for step in operator.operations.Verify(operations_pb2.VerifyRequest())
        if step.HasField("verdict")
    ]
    assert len(verdicts) > 5
    assert all(verdicts)


async def dump(place: Town) -> str:
    """Every row of every table there is, as text."""
    database = place.house.platform.services["directory"].host.database
    tables = await database.fetch(
        """SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"""
    )
    assert len(tables) > 50
    rows = [
        row["line"]
        for table in tables
        for row in await database.fetch(f"SELECT t::text AS line FROM {table['name']} t")  # names of our own tables
    ]
    assert len(rows) > 50
    return "\n".join(rows)


def traces(texts: Sequence[str], where: str) -> list[str]:
    """Which texts are there, as they are or in the spellings that bytes have in SQL and JSON."""
    found = []
    for text in texts:
        shifted = (b64encode(b" " * n + text.encode()).decode()[4:-4] for n in range(3))  # base64 has three alignments
        if any(spelling in where for spelling in (text, text.encode().hex(), *shifted)):
            found.append(text)
    return found


async def write_ahead_log(place: Town) -> bytes:
    """All that PostgreSQL was ever given to write down, or nothing where it runs on another machine."""
    database = place.house.platform.services["directory"].host.database
    directory = Path(await database.fetchval("SHOW data_directory")) / "pg_wal"
    if not os.access(directory, os.R_OK):
        warnings.warn(f"NOT CHECKED: the write-ahead log in {directory} cannot be read from here", stacklevel=1)
        return b""
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file())


async def test_what_was_written_is_read_by_the_organisation(place: Town) -> None:
    written = await write(place, place.ana)
    history, lists, tail = await everything_shown(place, written.check_in.check_in_id)
    assert history == {kind: CANARIES[kind] for kind in ("note", "correction", "revision")}
    assert lists == {CANARIES["new note"]}
    assert tail == CANARIES


async def test_what_was_written_lies_in_no_table_and_in_no_line_of_the_log_at_any_time(
    place: Town, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    written = await write(place, place.ana)
    await everything_shown(place, written.check_in.check_in_id)
    assert traces(list(CANARIES.values()), await dump(place)) == []
    for _ in range(100):  # long enough for a snapshot, which holds sealed text as well
        await place.ana.checkins.RecordCheckIn(check_in_of(place, CANARIES["note"]))
    await erase(operator, place.ana)
    with refused(PRECONDITION, "PERSON_ERASED"):
        await place.ana.checkins.RecordCheckIn(check_in_of(place, CANARIES["note"]))
    await rebuild_all(operator)
    assert await place.house.platform.services["checkins"].host.database.fetchval("SELECT count(*) FROM snapshot")
    assert traces(list(CANARIES.values()), await dump(place)) == []
    assert traces(list(CANARIES.values()), caplog.text) == []
    written_ahead = await write_ahead_log(place)
    assert [text for text in CANARIES.values() if text.encode() in written_ahead] == []


async def test_the_search_for_traces_finds_what_is_open(place: Town) -> None:
    """The control: a title is open, and found wherever it lies."""
    await place.ana.directory.RenameUnit(
        directory_pb2.RenameUnitRequest(request_id=new_id(), unit_id=place.unit_id, name="A title is no secret")
    )
    await place.settle()
    assert traces(["A title is no secret", CANARIES["note"]], await dump(place)) == ["A title is no secret"]
    written_ahead = await write_ahead_log(place)
    assert not written_ahead or b"A title is no secret" in written_ahead
    for n in range(3):
        assert traces(["a longer canary"], b64encode(b"x" * n + b"a longer canary, still singing").decode())


async def test_once_erased_it_is_gone_everywhere_at_once_and_stays_so_after_a_rebuild(
    place: Town, operator: Operator
) -> None:
    written = await write(place, place.ana)
    await everything_shown(place, written.check_in.check_in_id)  # whoever keeps keys has them now

    position = await erase(operator, place.ana)

    gone = (dict.fromkeys(("note", "correction", "revision"), "erased"), {"erased"}, ERASED)
    assert await everything_shown(place, written.check_in.check_in_id) == gone
    await place.ben.directory.ListPeople(directory_pb2.ListPeopleRequest(min_positions=[position]))
    assert await shown_name(place, place.ana) == "erased"
    await rebuild_all(operator)
    assert await everything_shown(place, written.check_in.check_in_id) == gone
    assert await shown_name(place, place.ana) == "erased"


async def test_numbers_and_titles_stay_and_a_board_names_the_erased_as_such(place: Town, operator: Operator) -> None:
    await write(place, place.ana)
    position = await erase(operator, place.ana)
    answer = await place.ben.insights.GetBoard(insights_pb2.GetBoardRequest(min_positions=[position]))
    (key_result,) = answer.objectives[0].key_results
    assert (key_result.value, key_result.target) == ("23", "32")
    assert key_result.accountable_id == str(place.ana.person_id)
    assert await shown_name(place, place.ana) == "erased"


async def test_what_others_wrote_stays_also_in_what_the_erased_corrected(place: Town, operator: Operator) -> None:
    place.clock.set(FEBRUARY)
    check_in = check_in_of(place, "written by Ben")
    await place.ben.checkins.RecordCheckIn(check_in)
    await place.ana.checkins.CorrectCheckIn(
        checkins_pb2.CorrectCheckInRequest(
            request_id=new_id(),
            check_in_id=check_in.check_in_id,
            key_result_id=place.key_result_id,
            value="22",
            reason="written by Ana",
        )
    )
    await place.settle()
    await erase(operator, place.ana)
    history, lists, tail = await everything_shown(place, check_in.check_in_id)
    assert history == {"note": "written by Ben", "correction": "erased"}
    assert lists == {"written by Ben"}
    assert tail == {"note": "written by Ben", "new note": "written by Ben", "correction": "erased"}


async def test_the_erased_write_nothing_more_and_what_they_send_again_is_answered_as_then(
    place: Town, operator: Operator
) -> None:
    place.clock.set(FEBRUARY)
    check_in = check_in_of(place, CANARIES["note"])
    first = await place.ana.checkins.RecordCheckIn(check_in)
    revision = goals_pb2.ReviseTargetRequest(
        request_id=new_id(),
        objective_id=place.objective_id,
        key_result_id=place.key_result_id,
        target="32",
        reason=CANARIES["revision"],
    )
    revised = await place.ana.goals.ReviseTarget(revision)
    await erase(operator, place.ana)

    assert await place.ana.checkins.RecordCheckIn(check_in) == first
    assert await place.ana.goals.ReviseTarget(revision) == revised
    with refused(PRECONDITION, "PERSON_ERASED"):
        await place.ana.checkins.RecordCheckIn(check_in_of(place, "once more"))
    with refused(PRECONDITION, "PERSON_ERASED"):
        revision.request_id, revision.target = new_id(), "33"
        await place.ana.goals.ReviseTarget(revision)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        check_in.value = "25"
        await place.ana.checkins.RecordCheckIn(check_in)


async def test_the_same_check_in_in_another_request_is_no_second_one(place: Town) -> None:
    place.clock.set(FEBRUARY)
    check_in = check_in_of(place, "steady", occurred_at="2026-02-10T08:00:00Z")
    first = await place.ana.checkins.RecordCheckIn(check_in)
    check_in.request_id = new_id()
    again = await place.ana.checkins.RecordCheckIn(check_in)
    assert again.receipt.version == first.receipt.version
    check_in.request_id, check_in.note = new_id(), "shaken"
    with refused(grpc.StatusCode.ALREADY_EXISTS, "CHECK_IN_ALREADY_EXISTS"):
        await place.ana.checkins.RecordCheckIn(check_in)


async def test_a_correction_that_says_the_same_words_again_changes_nothing(place: Town) -> None:
    place.clock.set(FEBRUARY)
    first = await place.check_in("24", note="steady")
    same = await place.ana.checkins.CorrectCheckIn(
        checkins_pb2.CorrectCheckInRequest(
            request_id=new_id(),
            check_in_id=first.check_in_id,
            key_result_id=place.key_result_id,
            note="steady",
            reason="to be sure",
        )
    )
    assert same.receipt.version == first.receipt.version


async def test_an_erasure_whose_handler_died_after_the_event_is_finished_by_a_reaction(
    place: Town, operator: Operator
) -> None:
    """The first of the handler's steps alone, as a crash would leave it."""
    written = await write(place, place.ana)
    host = place.house.platform.services["directory"].host
    person_id = place.ana.person_id
    request = directory_pb2.ErasePersonRequest(request_id=new_id(), person_id=str(person_id))
    with calling(Caller(place.ana.organization_id, person_id, f"{PERSON_PREFIX}{person_id}")):
        await host.execute(people, people.stream(person_id), ErasePerson(person_id=person_id), request)
    await place.settle()

    assert await host.database.fetchval("SELECT wrapped FROM author_key WHERE person_id = $1", person_id) is None
    assert await host.database.fetchval("SELECT count(*) FROM identity WHERE person_id = $1", person_id) == 0
    gone = (dict.fromkeys(("note", "correction", "revision"), "erased"), {"erased"}, ERASED)
    assert await everything_shown(place, written.check_in.check_in_id) == gone


async def test_a_stolen_database_without_the_master_key_opens_nothing(place: Town) -> None:
    """What a dump holds of the keys is wrapped: none of it is a key that opens what lies beside it."""
    await write(place, place.ana)
    host = place.house.platform.services["directory"].host
    secret = (place.house.platform.settings.data_dir / "vault.key").read_bytes()
    assert secret.hex() not in await dump(place)
    with calling(Caller(place.ana.organization_id, None, "service:tests")):
        answer = await host.peers.vault.GetAuthorKeys(
            vault_pb2.GetAuthorKeysRequest(person_ids=[str(place.ana.person_id)])
        )
    assert answer.keys[0].key.hex() not in await dump(place)


async def test_a_service_in_a_process_of_its_own_hears_of_an_erasure_long_before_its_keys_expire(
    fresh_dsn: str, tmp_path: Path
) -> None:
    """Two platforms on one PostgreSQL share nothing but the key of the tokens between services."""
    key_file = tmp_path / "internal.pem"
    key_file.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = Settings(data_dir=tmp_path / "one", grpc_port=0, internal_key_file=key_file)
    async with Platform(settings, fresh_dsn, [directory, goals]) as one:
        addresses = {"directory": one.address, "goals": one.address}
        settings = settings.model_copy(update={"data_dir": tmp_path / "two", "peers": addresses})
        async with Platform(settings, fresh_dsn, [checkins]) as two:
            assert not (tmp_path / "two" / "vault.key").exists(), "only directory has a master key"
            organization_id, person_id = uuid4(), uuid4()
            desk, reader = Desk(one, organization_id, person_id), Desk(two, organization_id, person_id)
            key_result_id = await opened(desk)
            check_in = checkins_pb2.RecordCheckInRequest(
                request_id=new_id(), check_in_id=new_id(), key_result_id=key_result_id, value="24", note="in the open"
            )
            done = await reader.checkins.RecordCheckIn(check_in)
            question = checkins_pb2.GetCheckInRequest(
                check_in_id=check_in.check_in_id, min_positions=[done.receipt.position]
            )
            assert (await reader.checkins.GetCheckIn(question)).check_in.note == "in the open"

            assert one.issuer is not None
            token = one.issuer.issue(organization_id, uuid4(), operator=True)
            channel = connect(one.address, lambda: token)
            await erase(Operator(channel), desk)
            async with asyncio.timeout(KEYS_KEPT_SECONDS / 4):
                while (await reader.checkins.GetCheckIn(question)).check_in.note != "erased":
                    pass
            for each in (channel, desk.channel, reader.channel):
                await each.close()


async def opened(desk: Desk) -> str:
    """An organisation with one person and a key result that takes check-ins."""
    unit_id, cycle_id, objective_id, key_result_id = new_id(), new_id(), new_id(), new_id()
    today = datetime.now(UTC).date()
    await desk.directory.FoundOrganization(directory_pb2.FoundOrganizationRequest(request_id=new_id(), name="Mint"))
    await desk.directory.AddUnit(
        directory_pb2.AddUnitRequest(
            request_id=new_id(), unit_id=unit_id, name="Sales", kind=directory_pb2.UNIT_KIND_DEPARTMENT
        )
    )
    await desk.directory.RegisterPerson(
        directory_pb2.RegisterPersonRequest(
            request_id=new_id(), person_id=str(desk.person_id), handle="ana", name="Ana", unit_id=unit_id
        )
    )
    await desk.goals.DraftCycle(
        goals_pb2.DraftCycleRequest(
            request_id=new_id(),
            cycle_id=cycle_id,
            name="Now",
            starts_on=str(today - timedelta(days=30)),
            ends_on=str(today + timedelta(days=30)),
        )
    )
    await desk.goals.ActivateCycle(goals_pb2.ActivateCycleRequest(request_id=new_id(), cycle_id=cycle_id))
    await desk.goals.DraftObjective(
        goals_pb2.DraftObjectiveRequest(
            request_id=new_id(),
            objective_id=objective_id,
            cycle_id=cycle_id,
            unit_id=unit_id,
            owner_id=str(desk.person_id),
            title="Grow",
        )
    )
    await desk.goals.DefineKeyResult(
        goals_pb2.DefineKeyResultRequest(
            request_id=new_id(),
            objective_id=objective_id,
            key_result_id=key_result_id,
            title="Win rate",
            start="20",
            target="30",
            unit="%",
            champions=[goals_pb2.Champion(person_id=str(desk.person_id), role=goals_pb2.CHAMPION_ROLE_ACCOUNTABLE)],
        )
    )
    await desk.goals.ActivateObjective(
        goals_pb2.ActivateObjectiveRequest(request_id=new_id(), objective_id=objective_id)
    )
    return key_result_id
