"""Whether Kafka answers, for people who ask."""

import asyncio
from collections.abc import Sequence

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

ANSWER_SECONDS = 2.0


async def fault_of(bootstrap: Sequence[str]) -> str:
    """Why none of these servers tells what the cluster looks like; empty when one does."""
    client = AIOKafkaClient(bootstrap_servers=list(bootstrap), request_timeout_ms=int(ANSWER_SECONDS * 1000))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.bootstrap()
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    except (KafkaError, OSError) as error:
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    finally:
        await client.close()
    return ""
