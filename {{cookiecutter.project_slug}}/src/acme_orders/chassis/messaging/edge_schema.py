"""The schema of a type, changed for what comes from outside.

It gives up at the first bad element, and takes only values that can be stored (`storable.py`).
"""

from collections.abc import Callable
from typing import Any

from pydantic_core import core_schema

from acme_orders.chassis.messaging import storable
from acme_orders.chassis.messaging.schema_tree import (
    ARRAYS,
    Schema,
    inside,
    is_schema,
)

Check = Callable[[Any], Any]
_FUNCTIONS = ("function-before", "function-after", "function-wrap", "function-plain")


def for_the_edge(schema: Schema, *, check_json: Check) -> Schema:
    """The same schema for values from outside.

    Args:
        schema: of any type; it stays as it is.
        check_json: called with each text in it that is going to be parsed as JSON.
    """
    changes: dict[str, Check] = {**_CHANGES, "json": lambda node: _before(check_json, node)}

    def changed(node: Any) -> Any:
        match node:
            case list():
                return [changed(part) for part in node]
            case tuple():
                return tuple(changed(part) for part in node)
            case dict():
                new = node | {key: changed(part) for key, part in inside(node)}
                change = changes.get(node["type"]) if is_schema(node) else None
                return change(new) if change else new
        return node

    return changed(schema)


def _before(check: Check, node: Schema) -> Schema:
    return core_schema.no_info_before_validator_function(check, node)


def _after(check: Check, node: Schema) -> Schema:
    ref = node.get("ref")
    inner = {key: value for key, value in node.items() if key != "ref"}
    return core_schema.no_info_after_validator_function(check, inner, ref=ref)


def _integer(node: Schema) -> Schema:
    lower = {} if node.keys() & {"ge", "gt"} else {"ge": -storable.LARGEST_INTEGER - 1}
    upper = {} if node.keys() & {"le", "lt"} else {"le": storable.LARGEST_INTEGER}
    return node | lower | upper


def _made_by_function(node: Schema) -> Schema:
    """A function may make what its schema would refuse, such as a text from base64."""
    made_of = node
    while made_of and made_of["type"] in _FUNCTIONS:
        made_of = made_of.get("schema")
    return _after(storable.text, node) if made_of is None or made_of["type"] == "str" else node


def _open(node: Schema) -> Schema:
    """An object may have fields that nobody has described."""
    extra = node.get("config", {}).get("extra_fields_behavior") or node.get("extra_behavior")
    return _after(storable.extras, node) if extra == "allow" else node


_CHANGES: dict[str, Check] = {
    **dict.fromkeys(
        ARRAYS | {"dict", "frozendict", "ordered-dict", "counter"},
        lambda node: node | {"fail_fast": True},
    ),
    **dict.fromkeys(("model", "dataclass", "typed-dict"), _open),
    **dict.fromkeys(("function-after", "function-wrap", "function-plain"), _made_by_function),
    "int": _integer,
    "float": lambda node: {"allow_inf_nan": False} | node,
    "decimal": lambda node: _after(storable.numeric, node),
    "datetime": lambda node: _after(storable.moment, node),
    "time": lambda node: {"tz_constraint": "naive"} | node,
    "any": lambda node: _after(storable.document, node),
}
