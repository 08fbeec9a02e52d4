import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import asyncbus
from asyncbus import errors

REPOSITORY = Path(__file__).parents[1]

PUBLIC: dict[str, Any] = {name: getattr(asyncbus, name, None) for name in asyncbus.__all__}
CLASSES: dict[str, type] = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing)}


def public_members(kind: type) -> Iterator[tuple[str, Any]]:
    """The methods and properties of a class that users call, its own and inherited from ours."""
    for name in dir(kind):
        owner = next((base for base in kind.__mro__ if name in vars(base)), object)
        if not name.startswith("_") and owner.__module__.startswith("asyncbus"):
            member = inspect.getattr_static(kind, name)
            if inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod):
                yield name, member


MEMBERS = [(kind, name) for kind, found in CLASSES.items() for name, _ in public_members(found)]


@pytest.mark.parametrize("name", asyncbus.__all__)
def test_each_public_name_is_there_and_says_what_it_is(name: str) -> None:
    documentation = PUBLIC[name].__doc__

    assert documentation, f"asyncbus.{name} has no docstring"
    assert PUBLIC[name].__module__.startswith("asyncbus")
    # What Python writes by itself is no documentation.
    assert not documentation.startswith(f"{name}(")


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_each_public_method_says_what_it_does(kind: str, name: str) -> None:
    assert getattr(CLASSES[kind], name).__doc__, f"{kind}.{name} has no docstring"


def test_public_names_are_sorted_and_named_once() -> None:
    assert sorted(set(asyncbus.__all__)) == asyncbus.__all__


def test_nothing_else_is_public() -> None:
    modules = {name for name, thing in vars(asyncbus).items() if inspect.ismodule(thing)}
    visible = {name for name in vars(asyncbus) if not name.startswith("_")} - modules

    assert visible <= set(asyncbus.__all__)


def test_each_error_is_public() -> None:
    of_the_module = {
        name for name, thing in vars(errors).items() if inspect.isclass(thing) and not name.startswith("_")
    }
    ours = {name for name in of_the_module if issubclass(vars(errors)[name], errors.AsyncBusError)}

    assert ours <= set(asyncbus.__all__)
    assert len(ours) > 30


@pytest.mark.parametrize("name", [name for name, thing in PUBLIC.items() if inspect.isfunction(thing)])
def test_the_types_of_each_function_can_be_asked_for(name: str) -> None:
    hints = get_type_hints(PUBLIC[name])

    assert set(inspect.signature(PUBLIC[name]).parameters) | {"return"} == set(hints)


@pytest.mark.parametrize("name", CLASSES)
def test_the_types_of_each_class_can_be_asked_for(name: str) -> None:
    """Whatever reads annotations at run time (documentation, injection of dependencies) can read ours."""
    kind = CLASSES[name]
    get_type_hints(kind)

    for member_name, member in public_members(kind):
        function: Any = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        parameters = list(inspect.signature(function).parameters)
        if not isinstance(member, staticmethod):
            parameters = parameters[1:]
        assert set(parameters) | {"return"} <= set(get_type_hints(function)), f"{name}.{member_name}"


def test_the_types_are_shipped() -> None:
    assert files("asyncbus").joinpath("py.typed").is_file()


def test_the_wheel_takes_the_whole_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())

    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {
        "only-include": ["src/asyncbus", "src/asyncbus_pytest.py"],
        "sources": ["src"],
    }


def test_importing_asyncbus_imports_its_dependencies_and_nothing_else() -> None:
    """Not what tests, the command line or another back end need."""
    program = "import sys; before = set(sys.modules); import asyncbus; print(*sorted(set(sys.modules) - before))"
    imported = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    roots = {module.partition(".")[0] for module in imported.split()}
    strange = {root for root in roots - set(sys.stdlib_module_names) if not root.startswith("_")}

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w-]+", dependency)[0] for dependency in project["dependencies"]}  # type: ignore[index]  # each has a name
    # What anyio itself needs.
    assert strange <= {"asyncbus"} | declared | {"idna", "sniffio", "typing_extensions"}
    assert {"aiosqlite", "anyio", "asyncbus", "msgspec"} <= strange
    assert "asyncbus.testing" not in imported.split()


CONTRACT = re.findall(
    r"\w+",
    """
    connect verify EventBus Subscription Event NewEvent Receipt PendingReceipt EventStore EventFilter MemoryStore
    SQLiteStore AsyncBusError BatchTooLargeError BusClosedError EventIdConflictError EventsLostError InboxFullError
    InvalidPatternError InvalidTypeError PayloadError PublishOutcomeUnknownError StartBeyondHeadError StoreCorruptError
    StoreFailedError StoreFullError StoreLockedError StoreTruncatedError SubscriptionOverflowError WouldDeadlockError
    WrongThreadError
    """,
)


def test_what_the_contract_names_is_public() -> None:
    assert [name for name in CONTRACT if name not in PUBLIC] == []


BUS = re.findall(
    r"\w+",
    """
    publish publish_nowait publish_from_thread publish_many subscribe on replay query recent wait_for latest_sequence
    flush drain close clear statistics health backup
    """,
)


def test_the_bus_can_do_what_the_contract_says() -> None:
    assert [name for name in BUS if ("EventBus", name) not in MEMBERS] == []
