"""Inboxes over gRPC: what people do in goals and checkins is told to whom it concerns, once."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from okr.checkins.v1 import checkins_pb2
from okr.common.v1 import common_pb2
from okr.goals.v1 import goals_pb2
from okr.notifications.v1 import notifications_pb2 as pb
from okr_chassis.identity.auth import PermissionDeniedError, acting_for
from okr_eventstore.executor import CommandExecutor
from okr_notifications.api import NotificationsService
from okr_notifications.scheduler import PaceSweep
from tests.checkins.town import NOW, Firm, Town, Voice, a_town, new, refused

BECAME = pb.NOTIFICATION_KIND_BECAME_ACCOUNTABLE
BEHIND = pb.NOTIFICATION_KIND_FELL_BEHIND
COMMIT = pb.NOTIFICATION_KIND_COMMIT_REACHED


@pytest.fixture
async def town(fresh_dsn: str, tmp_path: Path) -> AsyncIterator[Town]:
    """A platform for each test, because each moves the clock."""
    async with a_town(fresh_dsn, tmp_path) as town:
        yield town


@pytest.fixture
async def firm(town: Town) -> Firm:
    return await town.firm()


async def record(voice: Voice, key_result_id: str, value: str, occurred_at: str = "") -> str:
    check_in_id = new()
    await voice.checkins.RecordCheckIn(
        checkins_pb2.RecordCheckInRequest(
            request_id=new(),
            check_in_id=check_in_id,
            key_result_id=key_result_id,
            value=value,
            occurred_at=occurred_at,
        )
    )
    return check_in_id


async def inbox(town: Town, voice: Voice) -> list[pb.Notification]:
    """A person's whole inbox, newest first, once everything is told."""
    await town.platform.wait_idle()
    return list((await voice.notifications.ListInbox(pb.ListInboxRequest())).notifications)


def kinds(notifications: list[pb.Notification]) -> list[int]:
    return [each.kind for each in notifications]


async def test_the_accountable_champion_hears_of_the_duty_of_falling_behind_and_of_the_commit(
    town: Town, firm: Firm
) -> None:
    objective_id, key_result_id = await firm.open_key_result()
    await record(firm.ana, key_result_id, "20")
    await inbox(town, firm.ana)
    await record(firm.ana, key_result_id, "55")

    told = await inbox(town, firm.ana)

    assert kinds(told) == [COMMIT, BEHIND, BECAME]
    for each in told:
        assert (each.key_result_id, each.objective_id) == (key_result_id, objective_id)
        assert each.key_result_title == "Regulars who come back"
        assert each.occurred_at == NOW.isoformat().replace("+00:00", "Z")
    assert "rule pace" in told[1].explanation
    assert len({each.notification_id for each in told}) == 3


async def test_an_inbox_is_the_callers_own(town: Town, firm: Firm) -> None:
    await firm.open_key_result()
    colleague = town.voice(firm.organization_id)
    stranger = (await town.firm()).ana
    assert len(await inbox(town, firm.ana)) == 1
    assert await inbox(town, colleague) == []
    assert await inbox(town, stranger) == []


async def test_a_hand_over_is_told_to_the_successor(town: Town, firm: Firm) -> None:
    objective_id, key_result_id = await firm.open_key_result()
    ben = town.voice(firm.organization_id)
    await firm.register(ben, "ben")
    await firm.ana.goals.AssignChampion(
        goals_pb2.AssignChampionRequest(
            request_id=new(),
            objective_id=objective_id,
            key_result_id=key_result_id,
            champion=goals_pb2.Champion(person_id=ben.person_id, role=goals_pb2.CHAMPION_ROLE_ACCOUNTABLE),
        )
    )
    assert kinds(await inbox(town, ben)) == [BECAME]
    await record(ben, key_result_id, "10")
    assert kinds(await inbox(town, ben)) == [BEHIND, BECAME]
    assert kinds(await inbox(town, firm.ana)) == [BECAME]


async def test_a_back_dated_check_in_and_a_close_tell_nothing(town: Town, firm: Firm) -> None:
    objective_id, key_result_id = await firm.open_key_result()
    await record(firm.ana, key_result_id, "49")
    await inbox(town, firm.ana)
    await record(firm.ana, key_result_id, "1", occurred_at="2026-02-01T09:00:00Z")
    assert kinds(await inbox(town, firm.ana)) == [BECAME]
    await firm.close(objective_id)
    await inbox(town, firm.ana)
    town.clock.advance(timedelta(days=30))
    await sweep(town)
    assert kinds(await inbox(town, firm.ana)) == [BECAME]


async def sweep(town: Town) -> int:
    """The sweep comes by now."""
    host = town.platform.services["notifications"].host
    assert host.log is not None
    return await PaceSweep(CommandExecutor(host.log), host.reader, host.clock).sweep()


async def test_a_key_result_nobody_checks_in_falls_behind_in_the_inbox_too(town: Town, firm: Firm) -> None:
    await firm.open_key_result()
    await inbox(town, firm.ana)
    assert await sweep(town) == 1
    assert kinds(await inbox(town, firm.ana)) == [BEHIND, BECAME]
    town.clock.advance(timedelta(days=1))
    assert await sweep(town) == 0


async def test_a_service_that_acts_for_nobody_has_no_inbox(town: Town, firm: Firm) -> None:
    host = town.platform.services["notifications"].host
    api = NotificationsService(host.reader, host.pages)
    with acting_for(firm.organization_id, "service:goals"), pytest.raises(PermissionDeniedError):
        await api.ListInbox(pb.ListInboxRequest(), cast(Any, None))


async def test_an_inbox_comes_in_pages_newest_first(town: Town, firm: Firm) -> None:
    for _ in range(5):
        await firm.open_key_result()
    all_at_once = await inbox(town, firm.ana)
    seen, token = [], ""
    for _ in range(3):
        answer = await firm.ana.notifications.ListInbox(
            pb.ListInboxRequest(page=common_pb2.PageRequest(size=2, token=token))
        )
        seen += list(answer.notifications)
        token = answer.next_page_token
    assert seen == all_at_once
    assert (len(seen), token) == (5, "")


async def test_a_malformed_question_is_refused(firm: Firm) -> None:
    for request, field in (
        (pb.ListInboxRequest(page=common_pb2.PageRequest(size=-1)), "page.size"),
        (pb.ListInboxRequest(page=common_pb2.PageRequest(token="x")), "page.token"),
        (pb.ListInboxRequest(min_positions=["x"]), "min_positions.0"),
        (pb.ListInboxRequest(min_positions=["elsewhere:0:1:1"]), "min_positions.0"),
    ):
        refusal = await refused(firm.ana.notifications.ListInbox(request))
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert [violation.field for violation in refusal.violations] == [field]
