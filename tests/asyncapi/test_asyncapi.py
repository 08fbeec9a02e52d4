"""The AsyncAPI document of a catalog is one by the format's own parser, whatever the classes are made of."""

import enum
import json
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import attrs
import msgspec
import pydantic
import pytest

from asyncbus import Catalog
from examples.emulator.events import VmEvent

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not (HERE / "node_modules" / "@asyncapi").is_dir(),
    reason="the parser is not installed: npm ci --prefix tests/asyncapi",
)


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Part(msgspec.Struct):
    name: str
    parts: "list[Part]" = []


@dataclass
class Everything:
    """A class of everything that JSON can hold.

    It has more than one paragraph.
    """

    part: Part
    moment: datetime
    id: uuid.UUID
    price: Decimal
    raw: bytes
    level: Level
    kind: Literal["a", "b"]
    pair: tuple[int, str]
    either: int | str | None
    counts: dict[str, list[int]] = field(default_factory=dict)
    took: timedelta | None = None
    anything: Any = None


class Tagged(msgspec.Struct, tag=True):
    """Told by its tag."""

    numbers: set[int]


class Other(msgspec.Struct, tag=True):
    x: float = 1.5


class Union(msgspec.Struct, rename="camel"):
    either_of: Tagged | Other


@attrs.define
class ByAttrs:
    stage: str
    part: Part | None = None


class Awkward(msgspec.Struct):
    """Its fields are called as the words of JSON Schema are."""

    items: Part
    default: Part
    discriminator: Part
    properties: dict[str, Part]


class Inner(pydantic.BaseModel):
    ms: int = pydantic.Field(ge=0, description="milliseconds")


class Model(pydantic.BaseModel):
    """A model with another one in it."""

    inner: Inner
    pair: tuple[int, str]
    moment: datetime | None = None


class PartAgain:
    """Another class of a name that there is already."""

    class Part(msgspec.Struct):
        size: int


class HasPartAgain(msgspec.Struct):
    part: PartAgain.Part


def everything() -> Catalog:
    catalog = Catalog()
    for version, cls in enumerate((Everything, Union, ByAttrs, Model, HasPartAgain, Awkward), 1):
        catalog.declare("one.type", version, cls)
        catalog.declare(f"type-{version}.of.its_own", 1, type(cls.__name__, (cls,), {}) if cls is not Model else Model2)
    return catalog


class Model2(pydantic.BaseModel):
    models: list[Model]


def validated(document: object) -> tuple[int, str]:
    done = subprocess.run(
        ["node", "validate.mjs"], cwd=HERE, input=json.dumps(document), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def vocabulary() -> Catalog:
    catalog = Catalog()
    for module in VmEvent.__subclasses__():
        for cls in module.__subclasses__():
            catalog.declare(f"{module.__name__}.{cls.__name__}", 1, cls)
    return catalog


@pytest.mark.parametrize("catalog", [everything, vocabulary, Catalog])
def test_the_parser_finds_no_error_in_it(catalog: Callable[[], Catalog]) -> None:
    document = catalog().asyncapi(title="everything", version="1.2.3")

    status, said = validated(document)

    assert (status, said) == (0, "")


def _lose_a_schema(document: dict[str, Any]) -> None:
    document["components"]["schemas"].popitem()


def _do_something_else(document: dict[str, Any]) -> None:
    next(iter(document["operations"].values()))["action"] = "publish"


def _be_no_schema(document: dict[str, Any]) -> None:
    next(iter(document["components"]["schemas"].values()))["type"] = "struct"


@pytest.mark.parametrize("harm", [_lose_a_schema, _do_something_else, _be_no_schema])
def test_it_finds_what_is_broken(harm: Callable[[dict[str, Any]], None]) -> None:
    document = everything().asyncapi()
    harm(document)

    status, said = validated(document)

    assert status == 1
    assert "error" in said
