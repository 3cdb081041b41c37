"""What one schema takes and another refuses is found, whatever the schemas are."""

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, MaxLen, MinLen
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from readiness.contracts.narrowing import Tree, narrowing, surprises

NAMES = ("place", "weight", "scans")


@st.composite
def pairs(draw: st.DrawFn, depth: int = 2) -> list[Any]:
    """A type, and what could have become of it."""
    kind = draw(st.sampled_from(["int", "str", "one of", "null", "list", "fields"]))

    def number(least: int, most: int) -> int:
        return draw(st.integers(least, most))

    if depth == 0 or kind == "int":
        return [Annotated[int, Ge(number(0, 2)), Le(number(3, 5))] for _ in "12"]
    if kind == "str":
        return [Annotated[str, MinLen(number(0, 2)), MaxLen(number(3, 5))] for _ in "12"]
    if kind == "one of":
        some = st.lists(st.sampled_from("abc"), min_size=1, unique=True)
        return [Literal[tuple(draw(some))] for _ in "12"]
    if kind == "fields":
        inner = {name: draw(pairs(depth - 1)) for name in NAMES}
        # Mostly nothing else becomes of it, which would be found as well.
        inner = {name: each if number(0, 3) == 0 else each[:1] * 2 for name, each in inner.items()}
        made = [
            {
                name: each[side] if draw(st.booleans()) else NotRequired[each[side]]
                for name, each in inner.items()
                if number(0, 9)
            }
            for side in (0, 1)
        ]
        return [TypedDict("Parcel", fields) for fields in made]  # type: ignore[operator]
    both = draw(pairs(depth - 1))
    if kind == "null":
        return [each | None if draw(st.booleans()) else each for each in both]
    return [Annotated[list.__class_getitem__(each), MaxLen(number(1, 3))] for each in both]


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
def test_what_is_refused_is_found(pair: list[Any], data: st.DataObject) -> None:
    """Where nothing is found, the new form takes what the old one took; and readers are safe."""
    old, new = pair
    sent, read = data.draw(st.from_type(old)), data.draw(st.from_type(new))
    assert takes(old, sent)
    assert takes(new, sent) or list(narrowing(tree(old), tree(new))), sent
    assert takes(old, read) or surprises(tree(old), tree(new)), read


@settings(max_examples=30, deadline=None)
@given(pairs())
def test_nothing_is_found_where_nothing_changes(pair: list[Any]) -> None:
    """In either direction."""
    for kind in pair:
        assert list(narrowing(tree(kind), tree(kind))) == []
        assert surprises(tree(kind), tree(kind)) == {}
