"""The shape of an event's data: how instances of a class become JSON, and JSON instances again."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, NoReturn

import msgspec

from asyncbus.codec import json_encode
from asyncbus.errors import EventDefinitionError, PayloadError
from asyncbus.events import misfit


class Shape:
    """One class, declared as the data of an event type in one version.

    Args:
        type: the event type.
        version: from 1 on.
        cls: a dataclass, a msgspec Struct, an attrs class or a pydantic model.

    Raises:
        EventDefinitionError: it is none of them, or has fields that cannot be read back from JSON.
    """

    def __init__(self, type: str, version: int, cls: type) -> None:
        self.type = type
        self.version = version
        self.cls = cls
        self.is_pydantic = hasattr(cls, "model_validate_json") and hasattr(cls, "model_json_schema")
        self.encode: Callable[[Any], bytes] = _encode_model if self.is_pydantic else json_encode
        is_known = (
            self.is_pydantic
            or dataclasses.is_dataclass(cls)
            or hasattr(cls, "__attrs_attrs__")
            or issubclass(cls, msgspec.Struct)
        )
        if not is_known:
            raise EventDefinitionError(
                f"{self.name} is no dataclass, msgspec Struct, attrs class or pydantic model; decorate it with"
                " @dataclass below @asyncbus.event"
            )
        with contextlib.suppress(NameError):  # it may name a class that comes later: found when the first event is read
            _ = self._decode

    @property
    def name(self) -> str:
        """Of the class, as errors show it."""
        return f"{self.cls.__module__}.{self.cls.__qualname__}"

    @property
    def doc(self) -> str:
        """What the class says of itself; "" where that is nothing."""
        said = inspect.cleandoc(self.cls.__doc__ or "")
        # A dataclass without a word of its own has its signature there.
        return "" if said.startswith(f"{self.cls.__name__}(") else said

    @cached_property
    def _decode(self) -> Callable[[str], Any]:
        if self.is_pydantic:
            return _model_reader(self.cls)
        try:
            return msgspec.json.Decoder(self.cls).decode
        except TypeError as error:
            raise EventDefinitionError(f"{self.name} cannot be an event: {error}") from error

    @property
    def decode(self) -> Callable[[str], Any]:
        """Makes the instance that stored JSON is; strictly: what is not of the field's type is not converted.

        Where it is msgspec's own it raises what `events.misfit` understands, else `PayloadError`.
        """
        return self._decode

    def convert(self, data: Any) -> Any:
        """The instance that plain data is, as `decode` makes it of JSON.

        Raises:
            PayloadError: with the path of the offending field.
        """
        if self.is_pydantic:
            return self._decode(json_encode(data).decode())
        try:
            return msgspec.convert(data, self.cls, str_keys=True)
        except Exception as error:  # a class may check itself
            raise misfit(error, self._decode) from error

    def refuse(self, _: object) -> NoReturn:
        """Raise the error of bytes, which no class is."""
        raise PayloadError("$", f"expected a {self.name}, found bytes")

    def json_schema(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The JSON Schema of the class, and the schemas it refers to, by name (`#/$defs/NAME`)."""
        if self.is_pydantic:
            schema = dict(self.cls.model_json_schema(mode="serialization"))  # type: ignore[attr-defined]
            return schema, schema.pop("$defs", {})
        (schema,), components = msgspec.json.schema_components([self.cls], ref_template="#/$defs/{name}")
        own = schema.get("$ref", "").removeprefix("#/$defs/")
        if own in components and not _refers(components, own):
            schema = components.pop(own)
        return schema, components


def _refers(components: dict[str, Any], name: str) -> bool:
    return f'"#/$defs/{name}"' in msgspec.json.encode(components).decode()


def _encode_model(model: Any) -> bytes:
    encoded: bytes = model.__pydantic_serializer__.to_json(model)
    return encoded


def _model_reader(cls: Any) -> Callable[[str], Any]:
    validate = cls.__pydantic_validator__.validate_json

    def read(text: str) -> Any:
        """Of one event."""
        try:
            return validate(text, strict=True)
        except ValueError as error:
            raise _of_model(cls, error) from error

    return read


def _of_model(cls: type, error: Any) -> PayloadError:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if not hasattr(error, "errors"):
        return PayloadError("$", f"does not fit {name}: {error}")
    first = error.errors(include_url=False)[0]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    return PayloadError(f"${path}", f"does not fit {name}: {first['msg']}")
