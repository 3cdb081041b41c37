# ruff: noqa: RUF012  a default of a model is copied
"""Payloads of forms that sales do not have, for whatever has to hold for those of any slice."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, TypeAlias, Union
from uuid import UUID

from pydantic import AnyUrl, Base64Str, BaseModel, ConfigDict, Field, Json, SecretStr

from acme_orders.chassis.messaging.envelope import Payload


class Point(Payload):
    """With fields that must be there."""

    x: int
    y: Annotated[float, Field(ge=0)]
    name: Annotated[str, Field(min_length=1, max_length=50, pattern="^[a-z]+$")]


class Plain(BaseModel):
    """No Payload."""

    model_config = ConfigDict(extra="forbid")

    a: int = 0


class Circle(Payload):
    """Known by its kind."""

    kind: Literal["circle"]
    radius: int


class Square(Payload):
    """Known by its kind."""

    kind: Literal["square"]
    side: int


class Branch(Payload):
    """Of branches."""

    twigs: list["Branch"] = []
    leaf: int = 0


class Sum(Payload):
    """Known only by trying."""

    left: "Term"
    sign: Literal["+"]


class Product(Payload):
    """Known only by trying."""

    left: "Term"
    sign: Literal["*"]


Term: TypeAlias = Union[Sum, Product, int]  # noqa: UP007  a forward reference
Sum.model_rebuild()
Product.model_rebuild()


@dataclass
class Pair:
    """No model at all."""

    left: int
    right: int


class Everything(Payload):
    """A field of each form; none has to be there."""

    points: list[Point] = []
    nested: list[list[Point]] = []
    by_name: dict[str, Point] = {}
    by_name_twice: dict[str, dict[str, Point]] = {}
    plain: tuple[Plain, ...] = ()
    pairs: list[Pair] = []
    either: list[Point | Plain] = []
    shapes: list[Annotated[Circle | Square, Field(discriminator="kind")]] = []
    scalars: list[UUID | datetime | Decimal | IPv4Address | int] = []
    tree: Branch | None = None
    term: Term | None = None
    anything: Any = None
    document: dict[str, Any] = {}
    inner: Json[Any] | None = None
    inner_list: list[Json[list[int]]] = []
    numbers: set[int] = set()
    decimals: list[Decimal] = []
    times: frozenset[datetime] = frozenset()
    days: list[date] = []
    spans: list[timedelta] = []
    addresses: list[IPv4Address] = []
    secrets: list[SecretStr] = []
    encoded: list[Base64Str] = []
    link: AnyUrl | None = None
    text: Annotated[str, Field(pattern="^(a+)+$")] | None = None
    number: int | None = None
    fraction: float | None = None
    decimal: Decimal | None = None
    id: UUID | None = None
    at: datetime | None = None


def bodies(size: int) -> Iterator[tuple[str, bytes]]:
    """The worst that somebody could think of, each of about so many bytes."""
    for field, units in _REPEATED.items():
        for unit in units:
            yield f"{field}: many {unit}", _filled(f'{{"{field}":[', unit, "]}", size)
    for few in (100, 10_000, 26_000):
        yield f"{few} members", _object(f'"by_name":{{{_members(few, "{}")}}}')
        yield f"{few} members twice", _object(f'"by_name_twice":{{{_members(few // 2, "{}")}}}')
        yield f"{few} strangers", _object(_members(few, "1"))
        yield f"{few} strangers in plain", _object(f'"plain":[{{{_members(few, "1")}}}]')
        yield f"{few} times the same", _object(",".join(['"number":1'] * few))
        for field, units in _REPEATED.items():
            for unit in units:
                yield f"{field}: {few} {unit}", _object(f'"{field}":[{",".join([unit] * few)}]')
    for field in ("text", "number", "fraction", "decimal", "id", "at", "anything"):
        for name, value in (
            ("digits", "1" * (size - 40)),
            ("decimals", "1." + "1" * (size - 40)),
            ("quoted digits", f'"{"1" * (size - 40)}"'),
            ("escapes", f'"{chr(92)}u0061{(chr(92) + "n") * (size // 2 - 40)}"'),
            ("backslashes", f'"{chr(92) * (size // 2 * 2 - 40)}u0000"'),
            ("half pairs", f'"{(chr(92) + "ud800") * (size // 6 - 10)}"'),
            ("NULs", f'"{(chr(92) + "u0000") * (size // 6 - 10)}"'),
            ("infinite", "1e999"),
        ):
            yield f"{field}: {name}", _object(f'"{field}":{value}')
    for depth in (50, 199, 990, size // 2):
        yield f"arrays, {depth} deep", _object(f'"anything":{"[" * depth}{"]" * depth}')
        yield (
            f"objects, {depth} deep",
            _object(f'"anything":{chr(123) + chr(34)}a{chr(34)}:' * depth),
        )
        yield f"branches, {depth} deep", _object('"tree":' + '{"twigs":[' * depth + "]}" * depth)
        yield (
            f"terms, {depth} deep",
            _object('"term":' + '{"left":' * depth + "1" + ',"sign":"/"}' * depth),
        )
    yield "terms, wide", _object(f'"term":{{"left":[{",".join(["{}"] * 8000)}]}}')
    yield "JSON in a text", _object(f'"inner":"[{",".join(["{}"] * (size // 3 - 20))}]"')
    yield (
        "escaped JSON in a text",
        _object(f'"inner":"[{(chr(92) + "u002c").join(["[]"] * (size // 8 - 20))}]"'),
    )
    for name, host in (("labels", "a." * (size // 2 - 50)), ("umlauts", "ü" * (size // 2 - 50))):
        yield f"a link of {name}", _object(f'"link":"http://{host}/"')
    yield "spaces", b" " * (size - 2) + b"{}"
    yield "quotes", b'"' * size
    yield "a mark of the byte sale", b"\xef\xbb\xbf{}"
    yield "no UTF-8", b'{"text":"' + b"\xff" * (size - 20) + b'"}'
    yield "UTF-16", "{}".encode("utf-16") * (size // 6)
    yield "zeros", bytes(size)


_REPEATED = {
    "points": ("{}", '{"x":"a"}', "0", '{"x":1,"y":1,"name":"a"}'),
    "nested": ("[{}]", "[]"),
    "plain": ("{}", '{"b":1}'),
    "pairs": ("{}", '{"left":1,"right":2}'),
    "either": ("{}", '{"a":"b"}'),
    "shapes": ("{}", '{"kind":"circle"}', '{"kind":"circle","radius":1}'),
    "scalars": ('"x"', '"1"', "0"),
    "anything": ("{}", "[]", "1e999", '"a"', "[[[[[[[[[[]]]]]]]]]]", '{"a":{"b":{}}}'),
    "inner_list": ('"[]"', '"[1,1,1,1,1,1]"', '"x"'),
    "numbers": ("1", '"1"', "1.5"),
    "decimals": ("0", '"1e9"', '"x"'),
    "times": ("0", '"2026-01-31T12:00:00+01:00"', '"x"'),
    "days": ("0", '"x"'),
    "spans": ("1", '"P1D"', '"x"'),
    "addresses": ("0", '"1.2.3.4"', '"x"'),
    "secrets": ('""', "0"),
    "encoded": ('""', '"x"'),
}


def _object(members: str) -> bytes:
    return f"{{{members}}}".encode()


def _members(count: int, value: str) -> str:
    return ",".join(f'"{number:x}":{value}' for number in range(count))


def _filled(opening: str, unit: str, closing: str, size: int) -> bytes:
    count = (size - len(opening) - len(closing)) // (len(unit) + 1)
    return f"{opening}{','.join([unit] * count)}{closing}".encode()
