"""Decodes the worst bodies, and any others, as messages.

`python -m tests.chassis.edge.costs STEP OTHERS`: every so many of the worst, and so many others.
Prints a line for each that costs too much, and how many there were.
"""

import sys
from functools import partial
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from acme_orders.chassis.errors import Malformed
from acme_orders.chassis.messaging.broker import Message
from acme_orders.chassis.messaging.envelope import Handler, decode

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.edge.cost import LARGEST, LONGEST, MB, Scales
from tests.chassis.edge.forms import Everything, bodies

LONGEST_REFUSAL = 2000  # characters; a dead letter has it in a header


async def ignore(_: object) -> None:
    """Handle nothing."""


HANDLERS = {"everything": Handler(Everything, ignore)}


def answer(body: bytes) -> str:
    """What is said of a message with this body; nothing if it is good."""
    message = Message(
        body,
        "1",
        "everything",
        "test",
        headers={"tenant": str(TENANT)},  # feature: row, rls, schema
    )
    try:
        decode(message, HANDLERS, max_body_bytes=MB, max_header_bytes=1024)
    except Malformed as error:
        return str(error)
    return ""


_SCALARS = st.sampled_from(
    (
        "0",
        "-1",
        "1.5",
        "1e999",
        "NaN",
        '""',
        '"a"',
        '"1"',
        '"\\\\u0000"',
        '"2026-01-31"',
        "null",
        "true",
    )
)
_NAMES = st.sampled_from((*Everything.model_fields, "x", "kind", "left", "sign", "twigs", "a"))
_PIECES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]")
        | st.dictionaries(_NAMES, inner, max_size=3).map(
            lambda each: "{" + ",".join(f'"{name}":{value}' for name, value in each.items()) + "}"
        )
    ),
    max_leaves=6,
)


@st.composite
def any_body(draw: st.DrawFn) -> bytes:
    """A field with very many, or very deep, of something."""
    piece, field = draw(_PIECES), draw(_NAMES)
    count = draw(st.integers(1, MB // (len(piece) + 9)) | st.integers(1, 300))
    match draw(st.sampled_from(("array", "object", "depth", "text", "broken"))):
        case "array":
            value = f"[{','.join([piece] * count)}]"
        case "object":
            value = "{" + ",".join(f'"{number}":{piece}' for number in range(count)) + "}"
        case "depth":
            value = f'{{"{draw(_NAMES)}":' * count + piece + "}" * count
        case "text":
            quoted = piece.replace("\\", "\\\\").replace('"', '\\"')
            value = f'"[{",".join([quoted] * count)}]"'
        case _:
            value = piece * count
    return f'{{"{field}":{value}}}'.encode()[:MB]


def main() -> None:
    """Measure all of them."""
    step, others = map(int, sys.argv[1:])
    scales, seen, dear = Scales(), 0, list[str]()

    def look(name: str, body: bytes) -> None:
        nonlocal seen
        seen += 1
        cost = scales.measure(partial(answer, body))
        if not cost.bounded or len(cost.result) > LONGEST_REFUSAL:
            dear.append(
                f"{name}: {cost.yardsticks:.2f} of {LONGEST}, {cost.megabytes:.0f} MB of "
                f"{LARGEST:.0f}, {len(cost.result)} characters: {cost.result[:200]}"
            )

    @settings(max_examples=others, deadline=None, database=None)
    @given(any_body())
    def any_other(body: bytes) -> None:
        look(repr(body[:200]), body)

    for name, body in islice(bodies(MB), 0, None, step):
        look(name, body)
    any_other()
    sys.stdout.write("\n".join((*dear, f"{seen} bodies", "")))
    sys.exit(bool(dear))


if __name__ == "__main__":
    main()
