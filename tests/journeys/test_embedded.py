"""`okr up` on a bare machine, as a person uses it, and as a machine kills it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from grpc import aio

from okr.checkins.v1 import checkins_pb2
from okr.checkins.v1.checkins_pb2_grpc import CheckInsServiceStub
from okr_chassis.rpc.channels import connect
from tests.support.embedded import Installation, free_port, installation

WRITERS = 8
KILLS = 3
ACKNOWLEDGED_BEFORE_A_KILL = 40


@pytest.fixture(scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """A platform with its samples, up for the whole module."""
    async with installation(tmp_path_factory.mktemp("home") / "data") as built:
        await built.start()
        yield built


async def test_the_board_shows_the_sample_company_with_numbers(home: Installation) -> None:
    board = (await home.okr("board", "--json")).json

    assert board["organization"] == "Brightwater Software"
    key_results = [each for objective in board["objectives"] for each in objective["key_results"]]
    assert len(key_results) >= 10
    assert all(each["value"] and each["accountable"]["name"] for each in key_results)


async def test_the_board_four_weeks_ago_differs_as_the_samples_say(home: Installation) -> None:
    """The story tells 20.5 tickets four weeks ago, behind, and 13.9 today, on pace."""

    async def tickets(*options: str) -> dict[str, str]:
        board = (await home.okr("board", "--json", *options)).json
        (found,) = [
            each
            for objective in board["objectives"]
            for each in objective["key_results"]
            if each["title"].startswith("Onboarding tickets")
        ]
        return {name: found[name] for name in ("value", "pace", "confidence")}

    assert await tickets("--as-of", "4 weeks ago") == {"value": "20.5", "pace": "behind", "confidence": "0.3"}
    assert await tickets() == {"value": "13.9", "pace": "on pace", "confidence": "0.7"}


@pytest.mark.parametrize(
    "command",
    [
        ["board", "--department", "Software"],
        ["history", "onboarding tickets"],
        ["tree"],
        ["inbox", "--as", "ines"],
        ["due", "--all"],
        ["due", "--person", "ines"],
        ["cadence"],
        ["events", "tail"],
        ["doctor"],
        ["token", "--as", "ana"],
        ["parked", "list"],
        ["lint"],
        ["lint", "--rules"],
        ["template", "list", "construction"],
        ["template", "preview", "SW2", "--department", "Software", "--set", "1.target=80"],
    ],
    ids=" ".join,
)
async def test_a_command_ends_well_for_people_and_for_programs(home: Installation, command: list[str]) -> None:
    told = await home.okr(*command)
    counted = await home.okr(*command, "--json")

    assert (told.code, counted.code) == (0, 0), told.err + counted.err
    assert told.out.strip()
    assert counted.out.lstrip()[:1] in "{["


async def test_a_weekly_rhythm_is_chosen_with_its_reason_read(home: Installation) -> None:
    refused = await home.okr("cadence", "--every", "week")
    assert refused.code == 1
    assert "every other week is usual" in refused.err
    assert "--yes" in refused.err

    chosen = await home.okr("cadence", "--every", "week", "--day", "thu", "--yes", "--json")
    assert (chosen.json["step_days"], chosen.json["weekday"], chosen.json["usual"]) == (7, "thursday", False)
    back = await home.okr("cadence", "--every", "two weeks", "--json")
    assert (back.json["step_days"], back.json["weekday"], back.json["usual"]) == (14, "thursday", True)


async def test_the_samples_flood_no_inbox_with_reminders(home: Installation) -> None:
    for handle in ("ines", "ana", "tomas", "mara"):
        told = (await home.okr("inbox", "--as", handle, "--json")).json["notifications"]
        assert len([each for each in told if each["kind"].startswith("check_in")]) <= 10


async def test_an_objective_begins_with_a_template_and_a_finding_is_overridden(home: Installation) -> None:
    done = await home.okr("template", "apply", "SW3", "--department", "Software", "--as", "ben", "--json")
    assert len(done.json["key_result_ids"]) == 3

    title = "a platform teams choose"
    (before,) = (await home.okr("lint", title, "--json")).json["objectives"]
    assert "O6" in {finding["rule"] for finding in before["findings"]}
    told = await home.okr("lint", title, "--override", "O6", "--reason", "it serves every team", "--as", "ben")
    assert told.code == 0, told.err
    (after,) = (await home.okr("lint", title, "--json")).json["objectives"]
    assert "O6" not in {finding["rule"] for finding in after["findings"]}
    assert "O6" in {finding["rule"] for finding in after["overridden"]}


async def test_a_check_in_and_its_correction_come_back_in_history(home: Installation) -> None:
    done = await home.okr("check-in", "returning readers", "32,5", "--note", "newsletter", "--as", "ben", "--json")
    assert done.code == 0, done.err
    corrected = await home.okr("correct", "returning readers", "32", "--reason", "rounded", "--as", "ben")
    assert corrected.code == 0, corrected.err

    entries = (await home.okr("history", "returning readers", "--json")).json["entries"]

    assert [(each["kind"], each["value"]) for each in entries[:2]] == [
        ("CheckInCorrected", "32"),
        ("CheckInRecorded", "32.5"),
    ]


async def test_a_check_in_whose_outcome_was_unknown_is_sent_again_and_recorded_once(home: Installation) -> None:
    again = ("check-in", "referral sign-ups", "125", "--as", "leila", "--request-id", str(uuid4()), "--json")
    first, second = await home.okr(*again), await home.okr(*again)

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert second.json["position"] == first.json["position"]
    assert (await check_ins_in_the_log(home))[first.json["check_in_id"]] == 1


async def test_rebuild_and_verify_are_equal(home: Installation) -> None:
    rebuilt = await home.okr("rebuild", "insights", "--json")
    verified = await home.okr("verify", "--json")

    assert (rebuilt.code, verified.code) == (0, 0), rebuilt.err + verified.err
    assert verified.json["equal"] is True


async def test_importing_a_file_again_changes_nothing(home: Installation) -> None:
    file = str(Path(__file__).parents[2] / "examples" / "bakery" / "okrs.csv")
    who = ("--organization", "Second Bakery", "--as", "Rosa Maia")
    first = await home.okr("import", file, *who, "--json")
    assert first.code == 0, first.err
    before = (await home.okr("events", "tail", *who, "--json")).out

    again = await home.okr("import", file, *who, "--json")

    assert again.code == 0, again.err
    after = (await home.okr("events", "tail", *who, "--json")).out
    assert after == before


async def test_a_person_is_erased_for_good_once_it_is_confirmed(home: Installation) -> None:
    file = str(Path(__file__).parents[2] / "examples" / "bakery" / "okrs.csv")
    organization = ("--organization", "Third Bakery")
    rosa, lena = (*organization, "--as", "rosa.maia"), (*organization, "--as", "lena.hofer")
    assert (await home.okr("import", file, *organization, "--as", "Rosa Maia")).code == 0
    done = await home.okr("check-in", "tasks only lena", "30", "--note", "a secret recipe", *rosa)
    assert done.code == 0, done.err
    history = ("history", "tasks only lena", *lena, "--json")
    told = (await home.okr(*history)).json["entries"][0]
    assert (told["note"], told["person"]["name"]) == ("a secret recipe", "Rosa Maia")

    asked = await home.okr("person", "erase", "rosa.maia", *organization)
    assert (asked.code, "--yes" in asked.err) == (2, True)
    assert (await home.okr(*history)).json["entries"][0] == told
    unknown = await home.okr("person", "erase", "rosalind", "--yes", *organization)
    assert unknown.code == 1
    erased = await home.okr("person", "erase", "rosa.maia", "--yes", *organization, "--json")
    assert (erased.code, erased.json["person_id"]) == (0, told["person"]["id"]), erased.err

    told = (await home.okr(*history)).json["entries"][0]
    assert (told["note"], told["person"]["name"], told["value"]) == ("erased", "erased", "30")
    tail = await home.okr("events", "tail", *lena)
    assert "PersonErased" in tail.out
    assert "secret" not in tail.out
    assert (await home.okr("check-in", "tasks only lena", "29", *rosa)).code == 1
    again = await home.okr("person", "erase", told["person"]["id"], "--yes", *organization)
    assert again.code == 0, again.err


async def test_a_file_with_faults_is_refused_as_a_whole(home: Installation, tmp_path: Path) -> None:
    file = tmp_path / "okrs.csv"
    file.write_text(
        "Objective,Department,Owner,Key result,Champions,Start,Target,Unit\n"
        "Grow,Sales,Ana,Win rate,Ana,20,20,%\n"
        ",,,Revenue,Ana,much,100,EUR\n"
    )
    who = ("--organization", "Faulty Inc", "--as", "Ana")
    refused = await home.okr("import", str(file), *who)

    assert refused.code == 1
    assert "G2" in refused.err and "F3" in refused.err, "all faults at once, by their cells"
    assert "Traceback" not in refused.err
    assert (await home.okr("board", *who)).code == 1  # there is no such organisation


async def test_what_stands_in_the_way_of_a_start_is_one_clear_line(home: Installation, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("not a data directory")

    refusals = {
        "port in use": Installation(tmp_path / "fresh", home.port),
        "foreign directory": Installation(foreign),
        "live directory": Installation(home.data_dir, free_port()),
    }
    for what, blocked in refusals.items():
        answer = await blocked.okr("up")
        assert answer.code == 2, what
        assert len(answer.err.strip().splitlines()) == 1, f"{what}: {answer.err}"
        assert "Traceback" not in answer.err
    production = await Installation(tmp_path / "production").okr("up", OKR_ENV="production")
    assert production.code == 2
    assert "OKR_ISSUER" in production.err


async def test_no_acknowledged_check_in_is_lost_when_everything_is_killed(tmp_path: Path) -> None:
    """kill -9 of the platform, then of PostgreSQL as well, while eight writers check in."""
    acknowledged: dict[str, str] = {}
    async with installation(tmp_path / "data") as built:
        await built.start()
        token = (await built.okr("token", "--as", "ana", "--json")).json["token"]
        board = (await built.okr("board", "--json")).json
        key_results = [each["id"] for objective in board["objectives"] for each in objective["key_results"]]

        for kill in range(KILLS):
            writing = [asyncio.create_task(write(built, token, each, acknowledged)) for each in key_results[:WRITERS]]
            target = len(acknowledged) + ACKNOWLEDGED_BEFORE_A_KILL
            while len(acknowledged) < target:
                await asyncio.wait(writing, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
                assert not any(task.done() for task in writing), "a writer gave up before the kill"
            await built.kill(postgres=kill % 2 == 1)
            for task in writing:
                task.cancel()
            await asyncio.gather(*writing, return_exceptions=True)
            await built.start()

        verified = await built.okr("verify", "--json")
        assert verified.code == 0, verified.err
        recorded = await check_ins_in_the_log(built)
        assert acknowledged.keys() <= recorded.keys()
        assert set(recorded.values()) == {1}  # none twice
        assert len(acknowledged) >= KILLS * ACKNOWLEDGED_BEFORE_A_KILL
        assert await built.stop() == 0


async def write(built: Installation, token: str, key_result_id: str, acknowledged: dict[str, str]) -> None:
    """Check in again and again; a call without an answer is sent again as it was, until the platform is gone."""
    channel = connect(built.address, lambda: token)
    try:
        stub = CheckInsServiceStub(channel)
        while True:
            check_in_id = str(uuid4())
            request = checkins_pb2.RecordCheckInRequest(
                request_id=str(uuid4()), check_in_id=check_in_id, key_result_id=key_result_id, value="40"
            )
            while check_in_id not in acknowledged:
                try:
                    answer = await stub.RecordCheckIn(request)
                    acknowledged[check_in_id] = answer.receipt.position
                except aio.AioRpcError:
                    await asyncio.sleep(0)  # the platform is going; the kill ends this task
    finally:
        await channel.close()


async def check_ins_in_the_log(built: Installation) -> dict[str, int]:
    """Check-in id → how often the log holds it."""
    tail = await built.okr("events", "tail", "--service", "checkins", "--json")
    assert tail.code == 0, tail.err
    found: dict[str, int] = {}
    for check_in_id in re.findall(r"CheckInRecorded.*?check_in_id\W+([0-9a-f-]{36})", tail.out):
        found[check_in_id] = found.get(check_in_id, 0) + 1
    return found
