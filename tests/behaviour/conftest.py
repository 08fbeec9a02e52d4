"""A database in which consumers have their effects."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.behaviour.projection import Projection, projection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of the file that the database is in."""
    return tmp_path / "blocks.db"


@pytest_asyncio.fixture
async def blocks(path: Path) -> AsyncIterator[Projection]:
    async with projection(path) as blocks:
        yield blocks
