"""Check-ins over gRPC, with goals and directory beside them."""

import asyncio
from collections.abc import Sequence
from typing import cast
from uuid import UUID

import grpc
import pytest
from grpc import aio

from okr.checkins.v1 import checkins_pb2 as pb
from okr.common.v1 import common_pb2
from okr_checkins.decider import check_ins
from okr_contracts.checkins import CheckInsEvent
from okr_eventstore.executor import CommandExecutor
from tests.checkins.town import NOW, Firm, Town, Voice, new, refused


async def record(
    voice: Voice,
    key_result_id: str,
    value: str = "5",
    *,
    check_in_id: str | None = None,
    request_id: str | None = None,
    confidence: str = "",
    note: str = "",
    occurred_at: str = "",
    etag: str = "",
) -> pb.RecordCheckInResponse:
    return await voice.checkins.RecordCheckIn(
        pb.RecordCheckInRequest(
            request_id=request_id or new(),
            check_in_id=check_in_id or new(),
            key_result_id=key_result_id,
            value=value,
            confidence=confidence,
            note=note,
            occurred_at=occurred_at,
            etag=etag,
        )
    )


async def correct(
    voice: Voice, key_result_id: str, check_in_id: str, value: str = "", *, confidence: str = "", etag: str = ""
) -> pb.CorrectCheckInResponse:
    return await voice.checkins.CorrectCheckIn(
        pb.CorrectCheckInRequest(
            request_id=new(),
            check_in_id=check_in_id,
            key_result_id=key_result_id,
            value=value,
            confidence=confidence,
            reason="typed wrongly",
            etag=etag,
        )
    )


async def get(voice: Voice, check_in_id: str, *positions: str) -> pb.CheckIn:
    answer = await voice.checkins.GetCheckIn(pb.GetCheckInRequest(check_in_id=check_in_id, min_positions=positions))
    return answer.check_in


async def listed(
    voice: Voice, key_result_id: str, positions: Sequence[str] = (), size: int = 0, token: str = ""
) -> pb.ListCheckInsResponse:
    return await voice.checkins.ListCheckIns(
        pb.ListCheckInsRequest(
            key_result_id=key_result_id,
            page=common_pb2.PageRequest(size=size, token=token),
            min_positions=positions,
        )
    )


# --- recording and reading -------------------------------------------------------------------------


async def test_a_check_in_right_after_the_activation_is_recorded(firm: Firm) -> None:
    """However far the news of the activation have come: ten times over, none of them waits for anything."""
    for _ in range(10):
        _, key_result_id = await firm.open_key_result()
        await record(firm.ana, key_result_id)


async def test_a_check_in_is_read_as_it_was_recorded(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    done = await record(
        firm.ana, key_result_id, "12.50", confidence="0.7", note=" steady ", occurred_at="2026-02-10T09:00:00+01:00"
    )
    check_in = await get(firm.ana, done.check_in_id, done.receipt.position)
    assert check_in == pb.CheckIn(
        check_in_id=done.check_in_id,
        key_result_id=key_result_id,
        value="12.50",
        confidence="0.7",
        note="steady",
        person_id=firm.ana.person_id,
        occurred_at="2026-02-10T08:00:00Z",
        recorded_at=NOW.isoformat().replace("+00:00", "Z"),
    )


async def test_confidence_left_out_is_that_of_last_time(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    first = await record(firm.ana, key_result_id, occurred_at="2026-02-10T09:00:00Z")
    await record(firm.ana, key_result_id, confidence="0.9", occurred_at="2026-02-12T09:00:00Z")
    last = await record(firm.ana, key_result_id)
    assert (await get(firm.ana, first.check_in_id, last.receipt.position)).confidence == "0.5"
    assert (await get(firm.ana, last.check_in_id)).confidence == "0.9"


async def test_a_corrected_check_in_says_so(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    done = await record(firm.ana, key_result_id, "5", confidence="0.7", occurred_at="2026-02-10T09:00:00Z")
    corrected = await correct(firm.ana, key_result_id, done.check_in_id, "6")
    check_in = await get(firm.ana, done.check_in_id, corrected.receipt.position)
    assert (check_in.value, check_in.confidence, check_in.corrected) == ("6", "0.7", True)
    assert check_in.occurred_at == "2026-02-10T09:00:00Z"


async def test_a_list_of_check_ins_comes_in_pages(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    done = [await record(firm.ana, key_result_id, str(number)) for number in range(5)]
    seen, token, positions = [], "", [done[-1].receipt.position]
    for _ in range(3):
        answer = await listed(firm.ana, key_result_id, positions, size=2, token=token)
        seen += [check_in.check_in_id for check_in in answer.check_ins]
        token = answer.next_page_token
    assert seen == sorted(each.check_in_id for each in done)
    assert token == ""


async def test_a_list_says_where_the_key_result_stands(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    latest = await record(firm.ana, key_result_id, "7", occurred_at="2026-02-10T09:00:00Z")
    await record(firm.ana, key_result_id, "5", occurred_at="2026-02-01T09:00:00Z")
    done = await correct(firm.ana, key_result_id, latest.check_in_id, "8")
    answer = await listed(firm.ana, key_result_id, [done.receipt.position], size=1)
    assert (answer.latest.check_in_id, answer.latest.value) == (latest.check_in_id, "8")
    assert (answer.total_size, len(answer.check_ins)) == (2, 1)


async def test_an_open_key_result_without_check_ins_stands_nowhere_yet(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    await firm.town.platform.wait_idle()
    answer = await listed(firm.ana, key_result_id)
    assert (answer.HasField("latest"), answer.total_size, answer.etag) == (False, 0, '"1"')


async def test_a_draft_has_no_check_ins_and_says_so(firm: Firm) -> None:
    key_result_id = await firm.key_result(await firm.objective())
    answer = await listed(firm.ana, key_result_id)
    assert (list(answer.check_ins), answer.etag) == ([], '"0"')


# --- once, and in order ----------------------------------------------------------------------------


async def test_a_request_that_is_sent_again_gets_the_first_answer(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    check_in_id, request_id = new(), new()
    answers = [await record(firm.ana, key_result_id, check_in_id=check_in_id, request_id=request_id) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len((await listed(firm.ana, key_result_id, [answers[0].receipt.position])).check_ins) == 1


async def test_a_request_id_for_another_body_is_refused(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    request_id = new()
    await record(firm.ana, key_result_id, "5", request_id=request_id)
    refusal = await refused(record(firm.ana, key_result_id, "6", request_id=request_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_the_same_check_in_under_another_request_changes_nothing(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    first = await record(firm.ana, key_result_id, check_in_id=(check_in_id := new()))
    again = await record(firm.ana, key_result_id, check_in_id=check_in_id)
    assert again.receipt.version == first.receipt.version
    refusal = await refused(record(firm.ana, key_result_id, "6", check_in_id=check_in_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CHECK_IN_ALREADY_EXISTS")


async def test_an_etag_that_was_overtaken_is_refused(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    done = await record(firm.ana, key_result_id)
    etag = (await listed(firm.ana, key_result_id, [done.receipt.position])).etag
    await record(firm.ana, key_result_id, etag=etag)
    for call in (
        record(firm.ana, key_result_id, etag=etag),
        correct(firm.ana, key_result_id, done.check_in_id, "6", etag=etag),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_everybody_who_checks_in_at_the_same_time_is_heard(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()

    async def insist(value: int) -> None:
        check_in_id = new()
        for _ in range(50):
            try:
                await record(firm.ana, key_result_id, str(value), check_in_id=check_in_id)
                return
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.ABORTED
        raise AssertionError("50 races lost in a row")

    await asyncio.gather(*(insist(value) for value in range(20)))
    await firm.town.platform.wait_idle()
    values = {check_in.value for check_in in (await listed(firm.ana, key_result_id)).check_ins}
    assert values == {str(value) for value in range(20)}


async def test_a_long_stream_is_read_from_its_snapshot_as_from_its_beginning(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    for number in range(check_ins.snapshot_every or 0):
        last = await record(firm.ana, key_result_id, str(number))
    await correct(firm.ana, key_result_id, last.check_in_id, "7")

    log = firm.town.platform.logs["checkins"]
    stream = check_ins.stream(UUID(key_result_id))
    kept, following = await log.read_from_snapshot(firm.organization_id, stream, check_ins.state_version)
    loaded = await CommandExecutor(log).load(check_ins, firm.organization_id, stream)
    events = [event.data for event in await log.read_stream(firm.organization_id, stream)]

    assert kept is not None and kept.version + len(following) == len(events)
    assert loaded.state == check_ins.fold(cast(list[CheckInsEvent], events))
    assert loaded.version == len(events)


# --- refused ---------------------------------------------------------------------------------------


async def test_a_key_result_takes_values_from_its_activation_to_its_close(firm: Firm) -> None:
    objective_id = await firm.objective()
    key_result_id = await firm.key_result(objective_id)
    before = await refused(record(firm.ana, key_result_id))
    assert (before.code, before.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "KEY_RESULT_NOT_OPEN")

    await firm.activate(objective_id)
    done = await record(firm.ana, key_result_id)
    await firm.close(objective_id)
    await firm.town.platform.wait_idle()

    after = await refused(record(firm.ana, key_result_id))
    assert (after.code, after.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "KEY_RESULT_NOT_OPEN")
    late = await refused(correct(firm.ana, key_result_id, done.check_in_id, "6"))
    assert (late.code, late.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CHECK_INS_CLOSED")


async def test_a_key_result_that_was_closed_before_anybody_checked_in_stays_closed(firm: Firm) -> None:
    objective_id, key_result_id = await firm.open_key_result()
    await firm.close(objective_id)
    await firm.town.platform.wait_idle()
    refusal = await refused(record(firm.ana, key_result_id))
    assert refusal.reason == "KEY_RESULT_NOT_OPEN"


@pytest.mark.parametrize(
    ("occurred_at", "reason"),
    [("2026-02-15T12:00:01Z", "CHECK_IN_IN_THE_FUTURE"), ("2025-12-31T23:59:59Z", "CHECK_IN_BEFORE_CYCLE")],
)
async def test_a_check_in_lies_between_the_first_day_and_now(firm: Firm, occurred_at: str, reason: str) -> None:
    _, key_result_id = await firm.open_key_result()
    refusal = await refused(record(firm.ana, key_result_id, occurred_at=occurred_at))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, reason)


async def test_unknown_ids_are_not_found(firm: Firm) -> None:
    _, key_result_id = await firm.open_key_result()
    for call, reason in (
        (record(firm.ana, new()), "KEY_RESULT_NOT_FOUND"),
        (correct(firm.ana, key_result_id, new(), "6"), "CHECK_IN_NOT_FOUND"),
        (correct(firm.ana, new(), new(), "6"), "CHECK_IN_NOT_FOUND"),
        (get(firm.ana, new()), "CHECK_IN_NOT_FOUND"),
        (listed(firm.ana, new()), "KEY_RESULT_NOT_FOUND"),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, reason)


async def test_another_organisations_ids_look_like_unknown_ones(firm: Firm, town: Town) -> None:
    _, key_result_id = await firm.open_key_result()
    done = await record(firm.ana, key_result_id)
    await get(firm.ana, done.check_in_id, done.receipt.position)
    stranger = (await town.firm()).ana
    for call in (
        record(stranger, key_result_id),
        correct(stranger, key_result_id, done.check_in_id, "6"),
        get(stranger, done.check_in_id),
        listed(stranger, key_result_id),
    ):
        refusal = await refused(call)
        assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_a_page_token_of_another_organisation_opens_nothing(firm: Firm, town: Town) -> None:
    _, key_result_id = await firm.open_key_result()
    for _ in range(2):
        done = await record(firm.ana, key_result_id)
    token = (await listed(firm.ana, key_result_id, [done.receipt.position], size=1)).next_page_token
    assert token
    refusal = await refused(listed((await town.firm()).ana, key_result_id, size=1, token=token))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [each.field for each in refusal.violations] == ["page.token"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("confidence", "1.2"),
        ("confidence", "-0.1"),
        ("confidence", "NaN"),
        ("value", ""),
        ("value", "NaN"),
        ("value", "Infinity"),
        ("value", "-Infinity"),
        ("value", "1e400"),
        ("value", "1,5"),
        ("value", "9" * 21),
        ("note", "x" * 100_000),
        ("note", "before\x00after"),
        ("occurred_at", "yesterday"),
        ("occurred_at", "2026-02-10T09:00:00"),
        ("occurred_at", "0001-01-01T00:00:00Z"),
        ("check_in_id", "7"),
        ("key_result_id", "not-a-uuid"),
        ("key_result_id", "{3f0c7a52-6a0e-4a8b-9d55-1f0f6b1c2d3e}"),
        ("request_id", "7"),
        ("etag", "4"),
    ],
)
async def test_a_malformed_check_in_is_refused_naming_the_field(firm: Firm, field: str, value: str) -> None:
    request = pb.RecordCheckInRequest(request_id=new(), check_in_id=new(), key_result_id=new(), value="5")
    setattr(request, field, value)
    refusal = await refused(firm.ana.checkins.RecordCheckIn(request))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in refusal.violations] == [field]


async def test_all_that_is_wrong_with_a_request_is_told_at_once(firm: Firm) -> None:
    refusal = await refused(
        firm.ana.checkins.RecordCheckIn(
            pb.RecordCheckInRequest(
                request_id="x",
                check_in_id="x",
                key_result_id="x",
                value="x",
                confidence="1.2",
                occurred_at="x",
                etag="x",
            )
        )
    )
    fields = {violation.field for violation in refusal.violations}
    assert fields == {"request_id", "check_in_id", "key_result_id", "value", "confidence", "occurred_at", "etag"}


async def test_text_that_is_no_text_is_refused(firm: Firm) -> None:
    """A lone surrogate cannot be put into a message by our own library, but others may send its bytes."""
    note = b"\xed\xa0\x80"
    raw = b"".join((pb.RecordCheckInRequest(request_id=new()).SerializeToString(), b"\x32", bytes([len(note)]), note))
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = firm.ana.channel.unary_unary(
        "/okr.checkins.v1.CheckInsService/RecordCheckIn"
    )
    refusal = await refused(call(raw))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_correction_without_a_reason_is_refused(firm: Firm) -> None:
    refusal = await refused(
        firm.ana.checkins.CorrectCheckIn(
            pb.CorrectCheckInRequest(request_id=new(), check_in_id=new(), key_result_id=new(), value="5", reason=" ")
        )
    )
    assert [violation.field for violation in refusal.violations] == ["reason"]


async def test_a_mebibyte_of_text_is_refused(firm: Firm) -> None:
    refusal = await refused(record(firm.ana, new(), note="x" * 2**20))
    assert refusal.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)


async def test_a_read_refuses_a_position_that_is_none(firm: Firm) -> None:
    refusal = await refused(get(firm.ana, new(), "somewhere"))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in refusal.violations] == ["min_positions.0"]
