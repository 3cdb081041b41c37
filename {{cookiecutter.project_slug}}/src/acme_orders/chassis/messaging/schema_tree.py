"""Core schemas of Pydantic as trees, and what one says about the cost of validating with it."""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Any  # a dict, for each form of which pydantic_core has a TypedDict

ARRAYS = frozenset({"list", "tuple", "set", "frozenset", "deque"})
OBJECTS = frozenset({"model", "dataclass", "typed-dict", "dict"})

# What a node has beside other nodes; nothing in there is a schema.
_PLAIN = frozenset({"cls", "config", "default", "expected", "members", "metadata", "serialization"})


def is_schema(node: Mapping[str, Any]) -> bool:
    """Whether it is a schema; else it maps names to schemas, and one of them may be `type`."""
    return isinstance(node.get("type"), str)


def inside(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The parts of a node in which there may be schemas."""
    plain = _PLAIN if is_schema(node) else frozenset()
    return ((key, inner) for key, inner in node.items() if key not in plain)


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema, itself first; not those that it refers to."""
    match tree:
        case list() | tuple():
            for each in tree:
                yield from nodes(each)
        case dict():
            if is_schema(tree):
                yield tree
            for _, inner in inside(tree):
                yield from nodes(inner)


def names(schema: Schema) -> frozenset[str]:
    """What the fields in it are called, here and where values come from."""
    found = set[str]()
    for node in nodes(schema):
        if isinstance(fields := node.get("fields"), dict):
            found.update(fields)
        alias = (node.get("name"), node.get("validation_alias"))
        found.update(each for each in alias if isinstance(each, str))
    return frozenset(found)


def has_json(schema: Schema) -> bool:
    """Whether a text in it may be JSON that is parsed as well."""
    return any(node["type"] == "json" for node in nodes(schema))


def widest_union(schema: Schema) -> int:
    """How many validators a value may have to be tried with."""
    return max(
        (len(_choices(node)) for node in nodes(schema) if node["type"] == "union"), default=1
    )


def tries(schema: Schema) -> tuple[int, int]:
    """How often an object, and an array, within another of its kind is validated at worst.

    That is more than once if several members of a union lead back to it, and only trying them
    tells which of them a value is. A body of 300 bytes would take minutes.
    """
    definitions = {node["ref"]: node for node in nodes(schema) if "ref" in node}
    objects = arrays = 1
    for ref, definition in definitions.items():
        for union in (node for node in nodes(definition) if node["type"] == "union"):
            back = [each for each in _choices(union) if ref in _reached(each, definitions)]
            forms = [_form(each, definitions) for each in back]
            objects = max(objects, sum(form in OBJECTS for form in forms))
            arrays = max(arrays, sum(form in ARRAYS for form in forms))
    return objects, arrays


def _choices(union: Schema) -> list[Schema]:
    found = (each[0] if isinstance(each, tuple) else each for each in union["choices"])
    return [each for each in found if each["type"] != "is-instance"]  # that costs nothing


def _reached(schema: Schema, definitions: Mapping[str, Schema]) -> set[str]:
    """The definitions that a schema needs, and those that they need."""
    reached: set[str] = set()
    waiting = [schema]
    while waiting:
        for node in nodes(waiting.pop()):
            ref = node.get("schema_ref")
            if ref is not None and ref not in reached:
                reached.add(ref)
                waiting.append(definitions[ref])
    return reached


def _form(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    """What it is beneath its functions and defaults."""
    while schema["type"] not in OBJECTS | ARRAYS:
        ref = schema.get("schema_ref")
        inner = definitions[ref] if ref is not None else schema.get("schema")
        if inner is None:
            break
        schema = inner
    return str(schema["type"])
