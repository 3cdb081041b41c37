"""What one schema takes and another refuses is found, whatever the schemas are."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

from annotated_types import Ge, Le, MaxLen, MinLen
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError, conlist
from typing_extensions import TypedDict

from readiness.contracts.narrowing import Tree, narrowing, surprises

NAMES = ("place", "weight", "scans")


class Form(NamedTuple):
    """A type, and what is of it."""

    kind: Any
    values: st.SearchStrategy[Any]


@st.composite
def pairs(draw: st.DrawFn, depth: int = 2) -> list[Form]:
    """A form, and what could have become of it."""
    kind = draw(st.sampled_from(["int", "str", "one of", "null", "list", "fields"]))

    def number(least: int, most: int) -> int:
        return draw(st.integers(least, most))

    def one(both: Sequence[Form], side: int) -> Form:
        low, high = number(0, 2), number(3, 5)
        if depth == 0 or kind == "int":
            return Form(Annotated[int, Ge(low), Le(high)], st.integers(low, high))
        if kind == "str":
            return Form(
                Annotated[str, MinLen(low), MaxLen(high)],
                st.text("ab", min_size=low, max_size=high),
            )
        if kind == "one of":
            some = draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True))
            return Form(Literal[tuple(some)], st.sampled_from(some))
        inner = both[side]
        if kind == "null":
            null = draw(st.booleans())
            return Form(inner.kind | None, inner.values | st.none()) if null else inner
        limited = conlist(inner.kind, max_length=low + 1)
        return Form(limited, st.lists(inner.values, max_size=low + 1))

    if depth and kind == "fields":
        # Mostly nothing else becomes of a field, which would be found as well.
        inner = {
            name: each if number(0, 3) == 0 else each[:1] * 2
            for name, each in ((name, draw(pairs(depth - 1))) for name in NAMES)
        }
        return [parcel(draw, {name: each[side] for name, each in inner.items()}) for side in (0, 1)]
    both = draw(pairs(depth - 1)) if depth and kind in {"null", "list"} else []
    return [one(both, side) for side in (0, 1)]


def parcel(draw: st.DrawFn, inner: Mapping[str, Form]) -> Form:
    """Some of these fields, of which some have to be there."""
    fields = {name: each for name, each in inner.items() if draw(st.integers(0, 9))}
    needed = {name for name in fields if draw(st.booleans())}
    kinds = {
        name: each.kind if name in needed else NotRequired[each.kind]
        for name, each in fields.items()
    }
    values = st.fixed_dictionaries(
        {name: each.values for name, each in fields.items() if name in needed},
        optional={name: each.values for name, each in fields.items() if name not in needed},
    )
    return Form(TypedDict("Parcel", kinds), values)  # type: ignore[operator]


def takes(kind: Any, value: Any) -> bool:
    """Whether Pydantic does."""
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def tree(kind: Any) -> Tree:
    """The schema of a type."""
    schema = TypeAdapter(kind).json_schema()
    return Tree(schema, schema)


@settings(max_examples=80, deadline=None)
@given(pairs(), st.data())
def test_what_is_refused_is_found(pair: list[Form], data: st.DataObject) -> None:
    """Where nothing is found, the new form takes what the old one took; and readers are safe."""
    sent, read = (data.draw(each.values) for each in pair)
    old, new = (each.kind for each in pair)
    assert takes(old, sent)
    assert takes(new, sent) or list(narrowing(tree(old), tree(new))), sent
    assert takes(old, read) or surprises(tree(old), tree(new)), read


@settings(max_examples=30, deadline=None)
@given(pairs())
def test_nothing_is_found_where_nothing_changes(pair: list[Form]) -> None:
    """In either direction."""
    for kind, _ in pair:
        assert list(narrowing(tree(kind), tree(kind))) == []
        assert surprises(tree(kind), tree(kind)) == {}
