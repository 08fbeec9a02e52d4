"""Classes of typed events, one of each kind, and of one family."""

from dataclasses import dataclass
from typing import Any

import attrs
import msgspec
import pydantic

import asyncbus

TYPE = "optimization.stage_completed"


class OptimizationEvent:
    """The base of a family, itself no event."""


@dataclass
class AsDataclass(OptimizationEvent):
    stage: str
    ms: int = 0


class AsStruct(msgspec.Struct):
    stage: str
    ms: int = 0


@attrs.define
class AsAttrs(OptimizationEvent):
    stage: str
    ms: int = 0


class AsModel(pydantic.BaseModel):
    stage: str
    ms: int = 0


KINDS: tuple[Any, ...] = (AsDataclass, AsStruct, AsAttrs, AsModel)


def declared(cls: Any, type: str = TYPE, version: int = 1) -> Any:
    """The class, as the data of an event type; the test's end undoes it."""
    return asyncbus.event(type, version=version)(cls)
