"""Where one JSON schema refuses what another takes.

It knows what Pydantic writes. What it does not know it takes to be the same only if it is equal.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Schema = Mapping[str, Any]
_GONE, _REQUIRED = "is gone", "is required"
_LOWER = ("minLength", "minItems", "minProperties")
_UPPER = ("maxLength", "maxItems", "maxProperties")
_EXACT = ("pattern", "format", "multipleOf", "contentMediaType", "contentEncoding")


class Tree(NamedTuple):
    """A schema, and the document in which it refers to others."""

    schema: Schema
    document: Schema

    def resolved(self) -> "Tree":
        """The schema that it refers to, if it does no more than that."""
        schema = self.schema
        while "$ref" in schema:
            target: Any = self.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            schema = target
        if len(schema.get("allOf", ())) == 1:
            return Tree({**schema["allOf"][0]}, self.document).resolved()
        return Tree(schema, self.document)

    def at(self, schema: Any) -> "Tree":
        """Another schema of the same document."""
        return Tree({} if schema is True else schema, self.document)

    def choices(self) -> Sequence["Tree"]:
        """The schemas of which a value has to fit one; none if there is no choice."""
        schema = self.schema
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return [self.at(each) for each in schema[word]]
        if isinstance(schema.get("type"), list):
            return [self.at({**schema, "type": each}) for each in schema["type"]]
        return []


def narrowing(old: Tree, new: Tree, place: str = "") -> Iterator[tuple[str, str]]:
    """Each place, such as `lines[].sku`, at which `new` refuses a value of `old`, and why.

    A field that is gone is one as well: nobody would read it.
    """
    yield from _compare(old, new, place, frozenset())


def surprises(old: Tree, new: Tree) -> Mapping[str, str]:
    """Why whoever reads values misses something in a new one, or finds what never was, by place.

    Nobody may wait for what never comes, or be surprised; fields may be added.
    """
    found = {place: why for place, why in narrowing(old, new) if why != _REQUIRED}
    for place, why in narrowing(new, old):
        if why == _REQUIRED:
            found.setdefault(place, "is not always there")
        elif why != _GONE:  # a field that was added
            found.setdefault(place, f"may be what it never was: to the old form, {why}")
    return found


def _compare(
    old: Tree, new: Tree, place: str, seen: frozenset[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    pair = (str(old.schema.get("$ref")), str(new.schema.get("$ref")))
    if "$ref" in old.schema and "$ref" in new.schema:
        if pair in seen:  # it leads back to where it was compared
            return
        seen |= {pair}
    before, after = old.resolved(), new.resolved()
    if not before.choices() and not after.choices():
        yield from _one(before, after, place, seen)
        return
    for each in before.choices() or [old]:
        if all(any(_compare(each, other, place, seen)) for other in after.choices() or [new]):
            yield place, f"{_kind(each.resolved().schema)} is refused"


def _one(
    old: Tree, new: Tree, place: str, seen: frozenset[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    before, after = old.schema, new.schema
    if (allowed := _values(after)) is not None:
        if (values := _values(before)) is None:
            yield place, f"only {_listed(allowed)} may be there"
        elif gone := [each for each in values if each not in allowed]:
            yield place, f"{_listed(gone)} may no longer be there"
        return
    kinds = (before.get("type"), after.get("type"))
    known = kinds[0] or _values(before) is None
    if known and kinds[1] and kinds[0] != kinds[1] and kinds != ("integer", "number"):
        yield place, f"was {_kind(before)} and becomes {_kind(after)}"
        return
    yield from ((place, why) for why in _limits(before, after))
    yield from _fields(old, new, place, seen)
    yield from _elements(old, new, place, seen)


def _limits(before: Schema, after: Schema) -> Iterator[str]:
    for word in _LOWER:
        if after.get(word, 0) > before.get(word, 0):
            yield f"{word} was {before.get(word, 0)} and becomes {after[word]}"
    for word in _UPPER:
        if word in after and after[word] < before.get(word, float("inf")):
            yield f"{word} was {before.get(word, 'without a limit')} and becomes {after[word]}"
    for word, sign in (("minimum", 1), ("maximum", -1)):
        old, new = _bound(before, word, sign), _bound(after, word, sign)
        if new > old:
            yield f"{word} was {_shown(old, sign)} and becomes {_shown(new, sign)}"
    for word in _EXACT:
        if word in after and before.get(word) != after[word]:
            yield f"{word} was {before.get(word, 'free')} and becomes {after[word]}"
    if after.get("uniqueItems") and not before.get("uniqueItems"):
        yield "nothing may be there twice any more"


def _bound(schema: Schema, word: str, sign: int) -> tuple[float, bool]:
    """The bound, greater if it is narrower; and whether it is itself outside."""
    exclusive = f"exclusive{word.capitalize()}"
    bounds = [(sign * schema[word], False)] if word in schema else []
    if exclusive in schema:
        whole = schema.get("type") == "integer"
        bounds.append((sign * schema[exclusive] + whole, not whole))
    return max(bounds, default=(-float("inf"), False))


def _shown(bound: tuple[float, bool], sign: int) -> str:
    value, outside = bound
    if value == -float("inf"):
        return "without a limit"
    return f"{sign * value:g}{' (exclusive)' if outside else ''}"


def _fields(
    old: Tree, new: Tree, place: str, seen: frozenset[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    before, after = (each.schema.get("properties", {}) for each in (old, new))
    needed, was_needed = (set(each.schema.get("required", ())) for each in (new, old))
    others = new.schema.get("additionalProperties", True)
    for name, schema in before.items():
        inner = f"{place}.{name}" if place else name
        if name not in after:
            yield inner, _GONE
            continue
        yield from _compare(old.at(schema), new.at(after[name]), inner, seen)
    for name in sorted(needed - was_needed):
        yield f"{place}.{name}" if place else name, _REQUIRED
    if others is False and old.schema.get("additionalProperties", True) is not False:
        yield place, "other fields are refused"
    elif isinstance(others, Mapping) and "type" in old.schema:
        values = old.schema.get("additionalProperties", True)
        if values is not False:
            yield from _compare(old.at(values), new.at(others), f"{place}{{}}", seen)


def _elements(
    old: Tree, new: Tree, place: str, seen: frozenset[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    before, after = old.schema, new.schema
    places = max(len(each.get("prefixItems", ())) for each in (before, after))
    for number in range(places):
        pair = [old.at(_element(before, number)), new.at(_element(after, number))]
        yield from _compare(pair[0], pair[1], f"{place}[{number}]", seen)
    if isinstance(after.get("items"), Mapping):
        yield from _compare(
            old.at(before.get("items", {})), new.at(after["items"]), f"{place}[]", seen
        )


def _element(schema: Schema, number: int) -> Any:
    first = schema.get("prefixItems", ())
    return first[number] if number < len(first) else schema.get("items", {})


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _kind(schema: Schema) -> str:
    if (values := _values(schema)) is not None:
        return _listed(values)
    title = schema.get("title")
    kind = str(schema.get("type", "anything"))
    return f"{kind} ({title})" if title and kind == "object" else kind


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values))
