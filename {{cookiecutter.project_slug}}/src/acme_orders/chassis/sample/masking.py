"""What stands in a column of a sample instead of what stood there."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from acme_orders.chassis.erasure.classes import FREE_TEXT, NOT_PERSONAL
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.sample.pseudonyms import Pseudonyms
from acme_orders.chassis.sample.tables import Column, Sampled

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
DAY = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_]{0,62}")  # of a field, as code has it
_NUMBERS = {"int2", "int4", "int8", "numeric", "float4", "float8"}
Mask = Callable[[Any], Any]


class Masking:
    """Replaces the values of one table.

    Args:
        table: that they belong to.
        kinds: of its columns; those without one have no texts, and are kept.
        pseudonyms: of this sample.
    """

    def __init__(self, table: Sampled, kinds: Mapping[str, str], pseudonyms: Pseudonyms) -> None:
        self._pseudonyms, self._masks = pseudonyms, list[Mask | None]()
        for column in table.columns:
            kind = kinds.get(column.name, NOT_PERSONAL)
            self._masks.append(None if kind == NOT_PERSONAL else self._mask(table, column, kind))

    def row(self, values: Sequence[str | None]) -> list[str | None]:
        """The same row, with what may be shown; each value is JSON, NULL is None."""
        return [
            value
            if mask is None or value is None
            else json.dumps(_each(mask, json.loads(value)), ensure_ascii=False)
            for mask, value in zip(self._masks, values, strict=True)
        ]

    def _mask(self, table: Sampled, column: Column, kind: str) -> Mask:
        made, free = self._pseudonyms, kind == FREE_TEXT
        plain: dict[str, Mask] = {
            "uuid": made.identity,
            "date": made.day,
            "timestamp": made.day,
            "timestamptz": made.day,
            "bytea": lambda value: "\\x" + self._bytes(bytes.fromhex(value[2:]), free=free).hex(),
            "inet": made.address,
            "cidr": made.address,
            "xml": lambda value: f"<x>{made.prose(value)[:40]}</x>",
            "bool": lambda _: False,
        }
        if column.base in plain:
            return plain[column.base]
        if column.base in {"json", "jsonb"} or column.category == "C":
            return lambda value: self.document(value, free=free)
        if column.base in _NUMBERS:
            return lambda value: json.loads(made.number(str(value)))
        if column.textual:
            return lambda value: self._text(value, free=free)
        if column.nullable:
            return lambda _: None
        raise ConfigurationError(
            f"{table.name}.{column.name} ({column.type}) is {kind}, and nothing can stand for it: "
            f"ALTER TABLE {table.short} ALTER COLUMN {column.name} DROP NOT NULL"
        )

    def document(self, value: Any, *, free: bool) -> Any:
        """A document, key by key."""
        match value:
            case dict():
                return {
                    key if _NAME.fullmatch(key) else self._pseudonyms.text(key): self.document(
                        each, free=free
                    )
                    for key, each in value.items()
                }
            case list():
                return [self.document(each, free=free) for each in value]
            case bool() | None:
                return value
            case int() | float():
                return json.loads(self._pseudonyms.number(repr(value)))
        return self._leaf(value, free=free)

    def _leaf(self, value: str, *, free: bool) -> str:
        """A text in a document; ids stay, so that joins over them hold."""
        if free and UUID.fullmatch(value):
            return value
        if DAY.fullmatch(value):
            return self._pseudonyms.day(value)
        return self._text(value, free=free and any(map(str.isspace, value)))

    def _text(self, value: str, *, free: bool) -> str:
        if (document := parsed(value)) is not None:
            return json.dumps(
                self.document(document, free=free), ensure_ascii=False, separators=(",", ":")
            )
        return self._pseudonyms.prose(value) if free else self._pseudonyms.text(value)

    def _bytes(self, value: bytes, *, free: bool) -> bytes:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return self._pseudonyms.content(value)
        return self._text(text, free=free).encode()


def parsed(value: str) -> Any:
    """The document that a text is; None if it is none."""
    if not value.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _each(mask: Mask, value: Any) -> Any:
    """A list has elements of the type of its column."""
    return [_each(mask, each) for each in value] if isinstance(value, list) else mask(value)
