"""What the rules say a key result came to: its marks from its own stream, its values from check-ins."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from msgspec.structs import replace

from okr.checkins.v1 import checkins_pb2
from okr.common.v1 import common_pb2
from okr_chassis.clock import Clock
from okr_chassis.identity.auth import caller
from okr_chassis.rpc.peers import Peers
from okr_goals import replica
from okr_goals.decider.cycle import Cycle
from okr_goals.decider.objective import KeyResult
from okr_goals.lifecycle.calendar import end_of
from okr_goals.read_model import Reads
from okr_rules.measure import measure_of
from okr_rules.outcome import Outcome, outcome_of
from okr_rules.series import MICROSECOND, Reading

PAGE = 500


class Assessor:
    """Computes grades, on behalf of the running call."""

    def __init__(self, reads: Reads, peers: Peers, clock: Clock) -> None:
        self._reads = reads
        self._peers = peers
        self._clock = clock

    async def end_of(self, cycle: Cycle) -> datetime:
        """The moment that grades look at: the end of the last day where people are, or now before that."""
        zone_name = await replica.time_zone_of(self._reads, caller().organization_id)
        # A check-in of this very moment counts: values are looked for before the end.
        return min(end_of(cycle.ends_on, zone_name), self._clock().astimezone(UTC) + MICROSECOND)

    async def outcome(
        self, known: KeyResult, cycle: Cycle, until: datetime, min_positions: Sequence[str] = ()
    ) -> Outcome:
        """By the marks that count for the grade, the values before `until` and the rules of the cycle.

        A revision inside the organisation moves what is worked towards and not what is graded; `known` tells them
        apart.
        """
        promise = replace(known.defined, commit=known.graded_commit, target=known.graded_target)
        return outcome_of(
            measure_of(promise, promise.starts_on),
            await self._readings(known, until, min_positions),
            until,
            ambition=promise.measurement.ambition,
            parameters=cycle.parameters,
        )

    async def last_value(self, key_result_id: UUID, min_positions: Sequence[str] = ()) -> Decimal | None:
        """Where a key result stands."""
        answer = await self._ask(key_result_id, common_pb2.PageRequest(size=1), min_positions)
        return Decimal(answer.latest.value) if answer.HasField("latest") else None

    async def _readings(self, known: KeyResult, until: datetime, min_positions: Sequence[str]) -> list[Reading]:
        """The values that matter: the last one alone, unless how long each of them lasted does, or it came too late."""
        key_result_id, ranged = known.defined.key_result_id, known.defined.type == "maintain"
        page = common_pb2.PageRequest(size=PAGE if ranged else 1)
        answer = await self._ask(key_result_id, page, min_positions)
        if not answer.HasField("latest"):
            return []
        latest = _reading(answer.latest)
        if not ranged and latest.at < until:
            return [latest]
        readings: list[tuple[str, Reading]] = []
        while True:
            readings += [(each.recorded_at, _reading(each)) for each in answer.check_ins]
            if not answer.next_page_token:
                break
            page = common_pb2.PageRequest(size=page.size, token=answer.next_page_token)
            answer = await self._ask(key_result_id, page, ())
        if ranged:
            return [reading for _, reading in readings]
        early = [(reading.at, datetime.fromisoformat(known_at), reading) for known_at, reading in readings]
        early = [each for each in early if each[0] < until]
        return [max(early)[2]] if early else []

    async def _ask(
        self, key_result_id: UUID, page: common_pb2.PageRequest, min_positions: Sequence[str]
    ) -> checkins_pb2.ListCheckInsResponse:
        heard = [position for position in min_positions if position.startswith("checkins:")]
        request = checkins_pb2.ListCheckInsRequest(key_result_id=str(key_result_id), page=page, min_positions=heard)
        answer: checkins_pb2.ListCheckInsResponse = await self._peers.checkins.ListCheckIns(request)
        return answer


def _reading(check_in: checkins_pb2.CheckIn) -> Reading:
    return Reading(datetime.fromisoformat(check_in.occurred_at), Decimal(check_in.value))
