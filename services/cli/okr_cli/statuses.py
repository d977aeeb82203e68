"""What every process says of itself, put together into what the platform is."""

from collections.abc import Sequence

from okr.operations.v1.operations_pb2 import GetStatusRequest, GetStatusResponse
from okr_cli.client import Client, Process


async def ask_all(client: Client) -> list[tuple[Process, GetStatusResponse]]:
    """Every process, copies of a service each for itself."""
    return [
        (process, await client.ask(process.operations.GetStatus, GetStatusRequest())) for process in client.copies()
    ]


def merged(statuses: Sequence[GetStatusResponse]) -> GetStatusResponse:
    """All consumers and logs once. Copies of a consumer share its shards, so what they lag behind adds up."""
    answer = GetStatusResponse()
    consumers: dict[tuple[str, str], GetStatusResponse.ConsumerStatus] = {}
    logs: dict[str, GetStatusResponse.LogStatus] = {}
    for status in statuses:
        for each in status.consumers:
            known = consumers.setdefault((each.service, each.consumer), GetStatusResponse.ConsumerStatus())
            known.service, known.consumer, known.source = each.service, each.consumer, each.source
            for figure in ("lag_events", "parked_streams", "gaps", "duplicates", "retries", "zombies"):
                setattr(known, figure, getattr(known, figure) + getattr(each, figure))
            known.halted |= each.halted
            known.lag_unknown |= each.lag_unknown
            known.reason = known.reason or each.reason
        for log in status.logs:
            logs[log.service] = log
    answer.consumers.extend(consumers.values())
    answer.logs.extend(logs.values())
    return answer
