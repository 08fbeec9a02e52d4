"""The event types of a program as an AsyncAPI 3 document, from which others make documentation, clients and mocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from asyncbus.shapes import Shape

_JSON: Final = "application/json"
_DIALECT: Final = "application/schema+json;version=draft-07"


def document(shapes: Iterable[Shape], title: str, version: str) -> dict[str, Any]:
    """One channel for each event type, one message for each version of it.

    The format is https://www.asyncapi.com/docs/reference/specification/v3.0.0.

    Args:
        shapes: what is declared.
        title, version: of the program.
    """
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for shape in shapes:
        name = f"{shape.type}.v{shape.version}"
        messages[name] = _message(shape, name)
        schemas[name] = _schema(shape, name, schemas)
        channel = channels.setdefault(shape.type, {"address": shape.type, "messages": {}})
        channel["messages"][name] = _reference("components", "messages", name)
        for action in ("send", "receive"):
            operations[f"{action}.{shape.type}"] = {
                "action": action,
                "channel": _reference("channels", shape.type),
                "messages": [_reference("channels", shape.type, "messages", of) for of in channel["messages"]],
            }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": _JSON,
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _message(shape: Shape, name: str) -> dict[str, Any]:
    found = {
        "name": shape.type,
        "title": f"{shape.type}, version {shape.version}",
        "contentType": _JSON,
        "payload": {"schemaFormat": _DIALECT, "schema": _reference("components", "schemas", name)},
    }
    return found | ({"description": shape.doc} if shape.doc else {})


def _schema(shape: Shape, name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of a shape, with what it refers to put beside it under names of its own."""
    schema, components = shape.json_schema()
    names = {own: f"{name}.{own}" for own in components}
    schemas.update((names[own], _draft_07(component, names)) for own, component in components.items())
    found: dict[str, Any] = _draft_07(schema, names)
    return found


def _draft_07(schema: Any, names: dict[str, str]) -> Any:
    """The same schema in the words of draft 07, in which AsyncAPI has them."""
    if isinstance(schema, list):
        return [_draft_07(part, names) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for word, value in schema.items():
        if word in _OF_NAMES:
            found[word] = {name: _draft_07(part, names) for name, part in value.items()}
        elif word == "$ref":
            found[word] = "#/components/schemas/" + names[value.removeprefix("#/$defs/")]
        elif word == "prefixItems":  # what follows these is told by `items`, if by anything
            found["items"] = _draft_07(value, names)
        elif word == "items" and "prefixItems" in schema:
            found["additionalItems"] = _draft_07(value, names)
        elif word != "discriminator":  # OpenAPI's, as an object; the constant in each alternative tells as much
            found[word] = value if word in _LITERAL else _draft_07(value, names)
    return found


_OF_NAMES: Final = frozenset({"properties", "patternProperties"})
"""Words whose values have names of the user's, each with a schema."""

_LITERAL: Final = frozenset({"const", "default", "enum", "examples"})
"""Words whose values are data of the user's and no schemas."""


def _reference(*path: str) -> dict[str, str]:
    return {"$ref": "/".join(("#", *path))}
