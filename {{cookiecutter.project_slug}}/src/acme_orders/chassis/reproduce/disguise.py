"""A body without anybody's data: of its texts only those stay that are known to be harmless."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from acme_orders.chassis.erasure.classes import FREE_TEXT, NOT_PERSONAL, PERSONAL
from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.sample.masking import DAY, UUID
from acme_orders.chassis.sample.pseudonyms import Pseudonyms
from acme_orders.chassis.sample.tables import Sampled

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_.-]{0,62}")  # of a field, as code has it
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Disguise:
    """Replaces values of a body by those that stand for them in rows.

    A field is what the column of its name is; `sender_email` is personal because `email` is. A text
    of a field that is no column stays if it is an id, a day, a word of the payload's own schema, or
    what stands in a column that is not personal, such as the code that a foreign key refers to.

    Args:
        tables: of the slices.
        kinds: of their columns.
        pseudonyms: of the rows.
        payload: that the body should be; None if nobody knows it.
        harmless: what stands in rows, in columns that are not personal.
    """

    def __init__(
        self,
        tables: Iterable[Sampled],
        kinds: Mapping[int, Mapping[str, str]],
        pseudonyms: Pseudonyms,
        payload: type[Payload] | None,
        harmless: Collection[str],
    ) -> None:
        self._harmless = harmless
        self._pseudonyms, self._kinds = pseudonyms, dict[str, str]()
        for table in tables:
            for column in table.columns:
                kind = kinds[table.oid].get(column.name, None if column.textual else NOT_PERSONAL)
                if kind and self._kinds.get(column.name, NOT_PERSONAL) == NOT_PERSONAL:
                    self._kinds[column.name] = kind
        self._words = set(_words(payload.model_json_schema())) if payload else set[str]()

    def body(self, value: Any, field: str = "") -> Any:
        """The same, with what may be shown."""
        match value:
            case dict():
                return {
                    key if _NAME.fullmatch(key) else self._pseudonyms.text(key): self.body(
                        each, key
                    )
                    for key, each in value.items()
                }
            case list():
                return [self.body(each, field) for each in value]
            case bool() | None:
                return value
        return self._leaf(value, self._kind(field))

    def _leaf(self, value: Any, kind: str | None) -> Any:
        made = self._pseudonyms
        if not isinstance(value, str):
            classified = kind in {PERSONAL, FREE_TEXT}
            return json.loads(made.number(json.dumps(value))) if classified else value
        if kind == NOT_PERSONAL or value in self._words or (not kind and value in self._harmless):
            return value
        if UUID.fullmatch(value):
            return made.identity(value) if kind == PERSONAL else value
        if DAY.fullmatch(value):
            return made.day(value) if kind else value
        return made.prose(value) if kind == FREE_TEXT else made.text(value)

    def _kind(self, field: str) -> str | None:
        """Of the column with this name, or of a classified one whose name it ends with."""
        name = _HUMP.sub("_", field).replace("-", "_").lower()
        if name in self._kinds:
            return self._kinds[name]
        ends = (kind for column, kind in self._kinds.items() if name.endswith(f"_{column}"))
        return next((kind for kind in ends if kind != NOT_PERSONAL), None)


def _words(schema: Any) -> Iterable[str]:
    """What it names as the only values that are allowed."""
    if isinstance(schema, dict):
        named = schema.get("enum", [])
        for each in [*(named if isinstance(named, list) else []), schema.get("const")]:
            if isinstance(each, str):
                yield each
    for each in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(each, dict | list):
            yield from _words(each)
