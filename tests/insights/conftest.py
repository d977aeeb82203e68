from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.conftest import drop_schema
from tests.insights.world import SOURCES, Story, World, a_world


@pytest.fixture(scope="module")
async def world(postgres_dsn: str) -> AsyncIterator[World]:
    prefix = f"test_{uuid4().hex}"
    async with a_world(postgres_dsn, prefix) as world:
        yield world
    for name in (*SOURCES, "insights"):
        await drop_schema(postgres_dsn, f"{prefix}_{name}")


@pytest.fixture
def story(world: World) -> Story:
    """An organisation nothing is known of yet."""
    return world.story()
