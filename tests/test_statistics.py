import inspect
from typing import Any, Literal, get_args, get_type_hints

import msgspec
import pytest

from asyncbus.statistics import BusStatistics, Health, SubscriptionStatistics

SNAPSHOTS: list[type[msgspec.Struct]] = [SubscriptionStatistics, BusStatistics, Health]


def made(kind: type[msgspec.Struct], **values: Any) -> Any:
    return kind(**(dict.fromkeys(kind.__struct_fields__, 0) | values))


@pytest.mark.parametrize("kind", SNAPSHOTS)
def test_a_snapshot_is_frozen(kind: type[msgspec.Struct]) -> None:
    for name in kind.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(made(kind), name, 1)


@pytest.mark.parametrize("kind", SNAPSHOTS)
def test_each_figure_is_explained(kind: type[msgspec.Struct]) -> None:
    explained = [line.split(":")[0] for line in (inspect.getdoc(kind) or "").split("Attributes:\n")[1].splitlines()]

    assert [name for name in kind.__struct_fields__ if f"    {name}" not in explained] == []


@pytest.mark.parametrize("kind", [SubscriptionStatistics, BusStatistics])
def test_no_figure_can_be_forgotten(kind: type[msgspec.Struct]) -> None:
    for name in kind.__struct_fields__:
        with pytest.raises(TypeError, match=name):
            kind(**{other: 0 for other in kind.__struct_fields__ if other != name})


def test_two_snapshots_of_the_same_are_equal() -> None:
    assert made(BusStatistics, head=3) == made(BusStatistics, head=3) != made(BusStatistics, head=4)


def test_only_ok_is_ok() -> None:
    status: Any = get_type_hints(Health)["status"]
    assert set(get_args(status)) == {"ok", "degraded", "failed", "closed"}

    fine: dict[Literal["ok", "degraded", "failed", "closed"], bool] = {
        word: Health(status=word).ok for word in get_args(status)
    }

    assert fine == {"ok": True, "degraded": False, "failed": False, "closed": False}
