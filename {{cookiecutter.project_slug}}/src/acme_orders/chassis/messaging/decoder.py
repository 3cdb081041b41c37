"""From JSON to any type of Pydantic, at a cost that the allowed size bounds.

Pydantic looks at every element and keeps every error: refusing a body of 1 MB took half a minute
and a gigabyte.
"""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError, SchemaValidator

from acme_orders.chassis.errors import Malformed
from acme_orders.chassis.messaging.edge_schema import for_the_edge
from acme_orders.chassis.messaging.json_text import ESCAPED_NUL, ONCE, inspect
from acme_orders.chassis.messaging.schema_tree import (
    has_json,
    names,
    tries,
    widest_union,
)

T = TypeVar("T")

_A_VALUE = 40  # bytes of the largest body; more values would cost out of proportion
_MOST_ERRORS = 100  # that are built; more say nothing, and cost
SHOWN = 3
_LONGEST_NAME = 100  # characters of a key or a reason; both may come from outside
_LONGEST_REASON = 300


class Decoder(Generic[T]):
    """Decodes into one type, or refuses; values that could not be stored are refused as well.

    Args:
        type_: whatever Pydantic validates.
    """

    def __init__(self, type_: Any) -> None:
        schema = TypeAdapter(type_).core_schema
        self._tries, self._nested = tries(schema), has_json(schema)
        self._names = names(schema)
        self._a_value = _A_VALUE * widest_union(schema)  # each of its members may have to be tried
        edge = for_the_edge(schema, check_json=self._inspect_inner)
        # Without this, Pydantic would put the unchanged validator of each model in its place.
        self._validator = SchemaValidator(edge, _use_prebuilt=False)

    def inspect(self, text: bytes, *, largest: int) -> None:
        """Refuse a text that would cost too much, or has a NUL; raises Malformed."""
        most = largest // self._a_value
        inspect(text, most=most, tries=self._tries, nested=self._nested)

    def from_json(self, text: bytes, *, largest: int) -> T:
        """Decode a text.

        Args:
            text: that is meant to be JSON.
            largest: bytes that it may have, which bounds what it may cost.

        Raises:
            Malformed: with up to three places, and why; never with the values, which may be
                personal data.
        """
        if len(text) * self._a_value > largest or ESCAPED_NUL in text or self._tries != ONCE:
            self.inspect(text, largest=largest)
        try:
            value: T = self._validator.validate_json(text)
        except ValidationError as error:
            raise self._refused(error) from None
        return value

    def from_python(self, value: Any) -> T:
        """Decode what a JSON text that was inspected has become; raises Malformed."""
        try:
            decoded: T = self._validator.validate_python(value, from_attributes=True)
        except ValidationError as error:
            raise self._refused(error) from None
        return decoded

    def _refused(self, error: ValidationError) -> Malformed:
        """Where it is wrong and why, without the values."""
        count = error.error_count()
        if count > _MOST_ERRORS:
            return Malformed(f"{count} things are wrong with it", kind="many things")
        found = error.errors(include_url=False, include_context=False, include_input=False)
        refused = wrong((item["loc"], item["msg"]) for item in found[:SHOWN])
        refused.kind = self._kind(found[0])
        return refused

    def _kind(self, first: ErrorDetails) -> str:
        """Of the first mistake, and not of all: who sends any of them makes few kinds of it.

        Places have names of fields only, each once: keys, numbers and depths are the sender's.
        """
        known = dict.fromkeys(part for part in first["loc"] if part in self._names)
        kind = first["type"]
        if kind == "json_invalid":
            kind = first["msg"].partition(" at line ")[0]
        return f"{'.'.join(map(str, known))}: {kind}"

    def _inspect_inner(self, text: Any) -> Any:
        if isinstance(text, str):  # its values were counted with those around it
            raw = text.encode(errors="replace")
            try:
                inspect(raw, most=len(raw), tries=self._tries)
            except Malformed as error:  # in this form Pydantic adds where it was
                raise PydanticCustomError("malformed", "{why}", {"why": str(error)}) from None
        return text


def wrong(found: Iterable[tuple[tuple[int | str, ...], str]]) -> Malformed:
    """The error that tells of things that are wrong, each no longer than a line.

    Args:
        found: their places, and why.
    """
    return Malformed(
        places=[
            (
                ".".join(str(part)[:_LONGEST_NAME] for part in place[:10]) or "body",
                reason[:_LONGEST_REASON],
            )
            for place, reason in found
        ]
    )
