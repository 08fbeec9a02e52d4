"""pytest's way to asyncbus: the fixtures `bus`, `make_bus`, `collector` and `fake_clock`.

It is a module beside the package, for pytest imports it in every project where asyncbus is installed: the package, and
whatever runs `async` tests, are imported by the first test that asks for one of the fixtures.
"""
# ruff: noqa: PLC0415  # as said above

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

if TYPE_CHECKING:
    from asyncbus import EventBus
    from asyncbus.testing import Collector, FakeClock

    MakeBus = Callable[..., Awaitable[EventBus]]

_SCOPES: Final = ("function", "class", "module", "package", "session")


class _Opened(NamedTuple):
    bus: EventBus
    stack: AsyncExitStack


async def _opened(request: pytest.FixtureRequest) -> AsyncIterator[_Opened]:
    """A bus that is open, and what closes it and all others at the end of the test, on the test's own loop."""
    import asyncbus

    clock = request.getfixturevalue("fake_clock") if "fake_clock" in request.fixturenames else None
    async with AsyncExitStack() as stack:
        yield _Opened(await stack.enter_async_context(asyncbus.EventBus(clock=clock)), stack)


@pytest.fixture
async def _asyncbus_by_anyio(request: pytest.FixtureRequest) -> AsyncIterator[_Opened]:
    async for opened in _opened(request):
        yield opened


def pytest_configure(config: pytest.Config) -> None:
    """Where pytest-asyncio runs tests, have it run our fixture as well, on whichever of its loops a test runs."""
    if config.pluginmanager.hasplugin("asyncio"):
        config.pluginmanager.register(_by_asyncio())


def _by_asyncio() -> ModuleType:
    """A fixture for each loop that pytest-asyncio may have, as a plugin."""
    import pytest_asyncio

    def fixture(scope: Any) -> Any:
        @pytest_asyncio.fixture(loop_scope=scope, name=f"_asyncbus_by_asyncio_{scope}")
        async def opened(request: pytest.FixtureRequest) -> AsyncIterator[_Opened]:
            async for opened in _opened(request):
                yield opened

        return opened

    plugin = ModuleType("asyncbus_by_asyncio")
    for scope in _SCOPES:
        setattr(plugin, scope, fixture(scope))
    return plugin


@pytest.fixture
def _asyncbus_opened(request: pytest.FixtureRequest) -> _Opened:
    """What the plugin that runs this test has opened."""
    if "anyio_backend" in request.fixturenames:
        name = "_asyncbus_by_anyio"
    elif request.config.pluginmanager.hasplugin("asyncio"):
        marker = request.node.get_closest_marker("asyncio")
        scope = marker.kwargs.get("loop_scope") if marker else None
        name = f"_asyncbus_by_asyncio_{scope or request.config.getini('asyncio_default_test_loop_scope') or 'function'}"
    else:
        raise pytest.UsageError(
            "asyncbus's fixtures need something that runs async tests: install pytest-asyncio and mark the test with"
            " @pytest.mark.asyncio, or use anyio's plugin and mark it with @pytest.mark.anyio"
        )
    opened: _Opened = request.getfixturevalue(name)
    return opened


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands still until `fake_clock.advance(seconds)`; the test's `bus` goes by it."""
    from asyncbus.testing import FakeClock

    return FakeClock()


@pytest.fixture
def bus(_asyncbus_opened: _Opened) -> EventBus:
    """An open bus over a log in memory; it is closed as the test ends."""
    return _asyncbus_opened.bus


@pytest.fixture
def make_bus(_asyncbus_opened: _Opened) -> MakeBus:
    """What opens buses, as `connect` makes them or over a store of yours, and closes them as the test ends.

    To be awaited: `bus = await make_bus("events.db", inbox_capacity=10)`.
    """

    async def make(store: Any = None, **options: Any) -> EventBus:
        import asyncbus

        is_url = store is None or isinstance(store, str) or hasattr(store, "__fspath__")
        made = asyncbus.connect(store, **options) if is_url else asyncbus.EventBus(store, **options)
        return await _asyncbus_opened.stack.enter_async_context(made)

    return make


@pytest.fixture
def collector(bus: EventBus) -> Collector:
    """Awaits what the test's `bus` stores: `await collector.until("a.*", count=3)`."""
    from asyncbus.testing import Collector

    return Collector(bus)
