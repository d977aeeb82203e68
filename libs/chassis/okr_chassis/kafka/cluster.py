"""Short conversations with a Kafka cluster about what is in it."""

from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient

from okr_eventstore.errors import StoreUnavailableError

ANSWER_MS = 10_000


class Admin:
    """A short conversation with the cluster."""

    def __init__(self, bootstrap: Sequence[str]) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=list(bootstrap), request_timeout_ms=ANSWER_MS)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        try:
            await self._client.start()
        except BaseException:
            await self._client.close()
            raise
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


async def partitions_of_topic(admin: AIOKafkaAdminClient, topic: str) -> int:
    """How many partitions a topic has. Raises StoreUnavailableError while there is none of that name."""
    for found in await admin.describe_topics():
        if found["topic"] == topic and found["error_code"] == 0:
            return len(found["partitions"])
    raise StoreUnavailableError(f"there is no topic {topic} yet; `okr kafka provision` makes it")
