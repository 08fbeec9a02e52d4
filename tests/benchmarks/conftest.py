import pytest


@pytest.fixture(autouse=True)
def own_catalog() -> None:
    """Not here: what the examples' modules declare as they are imported stays declared."""
