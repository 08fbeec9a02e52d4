"""The AsyncAPI document: what it says of which class; that it is one, tests/asyncapi has its parser say."""

from dataclasses import dataclass
from typing import Any

import msgspec

from asyncbus import Catalog


class Part(msgspec.Struct):
    name: str
    parts: "list[Part]" = []


@dataclass
class First:
    """The first version.

    It has a part.
    """

    part: Part


@dataclass
class Second:
    default: Part
    pair: tuple[int, str]
    pairs: tuple[Part, Part]


def document() -> dict[str, Any]:
    catalog = Catalog()
    catalog.declare("a.b", 1, First)
    catalog.declare("a.b", 2, Second)
    return catalog.asyncapi(title="machine", version="2.0")


def test_each_event_type_is_a_channel_and_each_version_a_message_of_it() -> None:
    made = document()
    assert made["asyncapi"] == "3.0.0"
    assert made["info"] == {"title": "machine", "version": "2.0"}
    assert made["channels"] == {
        "a.b": {
            "address": "a.b",
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in ("a.b.v1", "a.b.v2")},
        }
    }


def test_it_is_sent_and_received_with_all_of_its_messages() -> None:
    operations = document()["operations"]
    assert {name: operation["action"] for name, operation in operations.items()} == {
        "send.a.b": "send",
        "receive.a.b": "receive",
    }
    for operation in operations.values():
        assert operation["channel"] == {"$ref": "#/channels/a.b"}
        assert operation["messages"] == [{"$ref": f"#/channels/a.b/messages/a.b.v{version}"} for version in (1, 2)]


def test_a_message_says_what_its_class_says_and_where_its_schema_is() -> None:
    messages = document()["components"]["messages"]
    assert messages["a.b.v1"]["description"] == "The first version.\n\nIt has a part."
    assert "description" not in messages["a.b.v2"], "the signature of a dataclass is no description"
    assert messages["a.b.v1"]["payload"]["schema"] == {"$ref": "#/components/schemas/a.b.v1"}


def test_what_a_class_refers_to_has_a_name_of_its_own_for_each_message() -> None:
    schemas = document()["components"]["schemas"]
    assert set(schemas) == {"a.b.v1", "a.b.v1.Part", "a.b.v2", "a.b.v2.Part"}
    assert schemas["a.b.v1"]["properties"]["part"] == {"$ref": "#/components/schemas/a.b.v1.Part"}
    assert schemas["a.b.v1.Part"]["properties"]["parts"]["items"] == {"$ref": "#/components/schemas/a.b.v1.Part"}


def test_it_is_in_the_words_of_draft_07_and_fields_may_be_called_as_these_are() -> None:
    properties = document()["components"]["schemas"]["a.b.v2"]["properties"]
    part = {"$ref": "#/components/schemas/a.b.v2.Part"}
    assert properties["default"] == part
    assert properties["pair"]["items"] == [{"type": "integer"}, {"type": "string"}]
    assert properties["pair"]["additionalItems"] is False
    assert properties["pairs"]["items"] == [part, part]
    assert "prefixItems" not in str(properties)


def test_what_a_class_is_that_contains_itself_stays_with_what_it_refers_to() -> None:
    catalog = Catalog()
    catalog.declare("part", 1, Part)
    assert catalog.schema(Part)["$defs"]["Part"]["properties"]["name"] == {"type": "string"}
    assert catalog.schema(Part)["$ref"] == "#/$defs/Part"
