"""The fixtures for users' tests, in projects as users have them, each in a pytest of its own."""

import pytest

USES = """
import asyncio
import asyncbus
import pytest

@pytest.fixture
async def twice(bus):
    async def publish(type, data=None):
        await bus.publish(type, data)
        await bus.publish(type, data)
    return publish

async def test_a_bus_is_open(bus):
    assert (await bus.publish("a")).sequence == 1

async def test_and_empty_again(bus):
    assert (await bus.publish("a")).sequence == 1

async def test_events_are_awaited(bus, collector):
    async def later():
        for number in range(5):
            await bus.publish("a.b", number)
            await bus.publish("b", number)
    task = asyncio.create_task(later())
    assert [event.data for event in await collector.until("a.*", count=3)] == [0, 1, 2]
    assert [event.data for event in await collector.until("a.*", where="data > 1")] == [2]
    assert [event.data for event in await collector.until("b", count=5)] == [0, 1, 2, 3, 4]
    await task
    assert len(await collector.events()) == 10
    with pytest.raises(TimeoutError, match="5 of 6 events of 'a.*' within 0.01 s; .*: 5 of a.b, 5 of b"):
        await collector.until("a.*", count=6, timeout=0.01)

async def test_a_clock_stands_still(bus, fake_clock):
    await bus.publish("a", 1)
    fake_clock.advance(3600)
    await bus.publish("a", 2)
    first, second = await bus.query()
    assert (second.time - first.time).total_seconds() == 3600
    assert second.time == fake_clock.moment

async def test_a_retry_takes_no_time(bus, fake_clock, collector):
    tried = []
    @bus.consumer("c", "a", retry=asyncbus.Retry(attempts=3, backoff=60, jitter=False))
    async def handle(event):
        tried.append(fake_clock.moment)
        if len(tried) < 3:
            raise ValueError
        await bus.publish("done")
    await bus.publish("a")
    while len(tried) < 3:
        fake_clock.advance(60)
        await asyncio.sleep(0)
    await collector.until("done")
    assert (tried[2] - tried[0]).total_seconds() >= 180

async def test_more_buses_are_made_and_closed(make_bus, tmp_path):
    bus = await make_bus(tmp_path / "events.db", inbox_capacity=10)
    assert (await bus.publish("a")).sequence == 1
    other = await make_bus(asyncbus.MemoryStore(max_events=3))
    assert other.health().status == "ok"
    kept.append(bus)

kept = []

async def test_what_was_made_is_closed():
    assert kept[0].health().status == "closed"
"""

STRICT = USES.replace("@pytest.fixture", "@pytest_asyncio.fixture").replace(
    "import pytest\n", "import pytest, pytest_asyncio\npytestmark = pytest.mark.asyncio\n", 1
)
BY_ANYIO = USES.replace("import pytest\n", "import pytest\npytestmark = pytest.mark.anyio\n", 1)
ONE_BACKEND = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""

# pytest-asyncio warns of an option that a project has not set.
WARNINGS = ("-W", "error", "-W", "ignore:The configuration option:pytest.PytestDeprecationWarning")
ARGUMENTS = ("-p", "no:cacheprovider", "-p", "no:xdist", *WARNINGS, "-q")


def passed(pytester: pytest.Pytester, tests: str, *arguments: str, conftest: str = "", number: int = 7) -> None:
    pytester.makepyfile(test_it=tests)
    if conftest:
        pytester.makeconftest(conftest)
    pytester.runpytest_subprocess(*ARGUMENTS, *arguments).assert_outcomes(passed=number)


def test_they_work_under_pytest_asyncio_in_strict_mode(pytester: pytest.Pytester) -> None:
    passed(pytester, STRICT, "-o", "asyncio_mode=strict")


def test_they_work_under_pytest_asyncio_in_auto_mode(pytester: pytest.Pytester) -> None:
    passed(pytester, USES, "-o", "asyncio_mode=auto")


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_they_are_on_the_loop_of_their_test_whatever_its_scope(scope: str, pytester: pytest.Pytester) -> None:
    tests = STRICT.replace("mark.asyncio", f'mark.asyncio(loop_scope="{scope}")').replace(
        "pytest_asyncio.fixture", f'pytest_asyncio.fixture(loop_scope="{scope}")'
    )
    passed(pytester, tests if scope != "class" else STRICT, "-o", "asyncio_mode=strict")


def test_the_scope_of_the_loop_may_stand_in_the_configuration(pytester: pytest.Pytester) -> None:
    options = (
        *("-o", "asyncio_mode=auto", "-o", "asyncio_default_test_loop_scope=session"),
        *("-o", "asyncio_default_fixture_loop_scope=session"),
    )
    passed(pytester, USES, *options)


@pytest.mark.parametrize("others", [[], ["-p", "no:asyncio"]])
def test_they_work_under_the_plugin_of_anyio(others: list[str], pytester: pytest.Pytester) -> None:
    passed(pytester, BY_ANYIO, *others, conftest=ONE_BACKEND)


def test_what_they_need_is_said_where_it_is_missing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(bus): pass")
    result = pytester.runpytest_subprocess(*ARGUMENTS, "-p", "no:asyncio", "-p", "no:anyio")
    result.stdout.fnmatch_lines(["*install pytest-asyncio*"])
    result.assert_outcomes(errors=1)


def test_a_project_that_does_not_use_them_does_not_import_asyncbus(pytester: pytest.Pytester) -> None:
    tests = """
        import sys

        def test_nothing_was_imported():
            assert "asyncbus_pytest" in sys.modules
            assert not {"asyncbus", "msgspec", "aiosqlite"} & sys.modules.keys()

        def test_a_fixture_of_its_own_comes_first(bus):
            assert bus == "the number 12"
    """
    pytester.makepyfile(tests)
    pytester.makeconftest('import pytest\n\n@pytest.fixture\ndef bus():\n    return "the number 12"\n')
    for others in ([], ["-p", "no:asyncio", "-p", "no:anyio"]):
        pytester.runpytest_subprocess(*ARGUMENTS, *others).assert_outcomes(passed=2)


def test_each_fixture_says_what_it_is(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*ARGUMENTS, "--fixtures")
    for line in ("make_bus --*", "fake_clock --*", "bus --*", "collector --*", "*clock that stands still*"):
        result.stdout.fnmatch_lines([line])
    result.stdout.no_fnmatch_line("*_asyncbus*")
