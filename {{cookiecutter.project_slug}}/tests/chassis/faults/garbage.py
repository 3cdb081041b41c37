"""Deliveries as the world sends them: good ones, broken ones, and those in between; from a seed."""

import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from tests.chassis.conftest import sold
from tests.chassis.faults.wire import long, properties, short, table
from tests.chassis.slices.sales.messages import SALE_MADE

End = Literal["effect", "dead letter", "either"]
Fields = list[tuple[bytes, bytes]]
_RARELY = 0.0002  # two of 10,000 have a body of 2 MiB
_SELDOM = 0.05
_DEEP = 90  # tables in tables; RabbitMQ itself reads them recursively

_VALUES: tuple[bytes, ...] = (  # of every type; RabbitMQ itself refuses infinite floats
    b"t\x01", b"b\x80", b"B\xff", b"s\x80\x00", b"u\xff\xff", b"I\x80\x00\x00\x00",
    b"i\xff\xff\xff\xff", b"l\x80" + bytes(7), b"f\x7f\x7f\xff\xff",
    b"d" + struct.pack(">d", 1e300), b"D\x02\x00\x00\x00\x05", b"D\xff\x7f\xff\xff\xff", b"V",
    long(b""), long(b"a\x00b"), long(b"\xff\xfe"), long(b"\xf0\x9f\x98\x80" * 2000),
    b"x\x00\x00\x00\x02\xff\x00", b"T" + bytes(8), b"T" + b"\xff" * 8, b"A\x00\x00\x00\x00",
    b"A\x00\x00\x00\x04t\x01t\x00", b"F" + table([(b"a", b"V"), (b"", long(b"\x80"))]),
)  # fmt: skip
_OURS = (
    b"retry-attempt", b"retry-first-failed-at", b"dl-id", b"dl-reason", b"dl-attempts", b"dl-queue",
    b"dl-replay-count", b"dl-fingerprint", b"dl-failed-at", b"x-delivery-count", b"x-retries",
    b"cloudEvents:time", b"cloudEvents:correlationid", b"cloudEvents_specversion", b"traceparent",
    b"tracestate", b"dropped-headers",
)  # fmt: skip
_ODD = (b"\x00", b"\xff\xfe", b"\xc3", b"x" * 255, b"\xf0\x9f\x98\x80" * 60, b" ", b"'; --")


@dataclass
class Draft:
    """A message before it is encoded; what can break it changes it."""

    number: int
    id: str
    sale: dict[str, Any]
    body: bytes = b""
    headers: Fields = field(default_factory=list)
    fields: dict[str, bytes] = field(default_factory=dict)
    end: End = "effect"
    kind: str = "good"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What goes over the wire, and what has to become of it."""

    kind: str
    end: End
    sale: str
    content: bytes
    body: bytes


def deliveries(count: int, *, seed: int) -> Iterator[Delivery]:
    """So many deliveries, the same for the same seed."""
    chance = random.Random(seed)
    recent: list[Delivery] = []
    for number in range(count):
        if recent and chance.random() < 0.03:  # the same once more
            yield replace(chance.choice(recent), kind="duplicate", end="either")
            continue
        if recent and chance.random() < 0.003:  # an id that was used for something else
            known = chance.choice(recent)
            body = known.body.replace(b"{", b'{"clash": %d, ' % number, 1)
            yield replace(known, kind="clash", end="either", body=body)
            continue
        made = _one(number, chance)
        if made.kind == "good":
            recent = [*recent[-200:], made]
        yield made


def _one(number: int, chance: random.Random) -> Delivery:
    sale = str(UUID(int=chance.getrandbits(128), version=4))
    draft = Draft(number, f"fuzz-{number}", json.loads(sold(sale_id=sale).body))
    draft.body = json.dumps(draft.sale).encode()
    draft.headers = [
        (name.encode(), long(str(value).encode())) for name, value in sold().headers.items()
    ]
    draft.fields = {
        "message_id": short(draft.id.encode()),
        "type": short(SALE_MADE.encode()),
        "app_id": short(b"fuzz"),
        "content_type": short(b"application/json"),
    }
    if chance.random() < 0.5:
        breaks = chance.choice(BREAKS)
        draft.kind = breaks.__name__.strip("_")
        breaks(draft, chance)
    fields = {**draft.fields, "headers": table(draft.headers)}
    return Delivery(draft.kind, draft.end, sale, properties(fields), draft.body)


def _truncated(draft: Draft, chance: random.Random) -> None:
    draft.body, draft.end = draft.body[: chance.randrange(len(draft.body))], "dead letter"


def _noise(draft: Draft, chance: random.Random) -> None:
    size = 2 << 20 if chance.random() < _RARELY * 10 else chance.randrange(2000)
    draft.body, draft.end = b"\x00" + chance.randbytes(size), "dead letter"


def _large(draft: Draft, chance: random.Random) -> None:
    if chance.random() < _RARELY * 10:
        draft.body, draft.end = draft.body + b" " * (2 << 20), "dead letter"


def _other_json(draft: Draft, chance: random.Random) -> None:
    draft.end = "dead letter"
    draft.body = chance.choice(
        (b"", b"null", b"[]", b"{}", b"NaN", b'"text"', b"1e999", b"[" * 5000, b'{"a":' * 5000,
         b"[" * 200 + b"]" * 200, b"\xef\xbb\xbf" + draft.body, draft.body + draft.body,
         draft.body.replace(b"2026", b"NaN", 1), draft.body.decode().encode("utf-16"),
         b'{"sale_id": 1' + b"0" * 5000 + b"}")
    )  # fmt: skip


def _wrong_field(draft: Draft, chance: random.Random) -> None:
    name = chance.choice(sorted(draft.sale))
    wrong: tuple[Any, ...] = (
        None,
        True,
        -1,
        1.5,
        10**400,
        [],
        {},
        [[[]]],
        {"a": {}},
        "",
        "x" * 5000,
    )
    draft.body = json.dumps({**draft.sale, name: chance.choice(wrong)}).encode()
    # A number is a time, too.
    draft.end = "either" if name == "made_at" else "dead letter"


def _odd_text(draft: Draft, chance: random.Random) -> None:
    text = chance.choice(("a\x00b", "\ud800", "\U0010ffff", "\u202e", "'; DROP TABLE sales; --"))
    line = {**draft.sale["lines"][0], "sku": text}
    draft.body = json.dumps({**draft.sale, "lines": [line]}).encode()
    draft.end = "dead letter" if text in {"a\x00b", "\ud800"} else "effect"


def _edges(draft: Draft, chance: random.Random) -> None:
    times = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", 0)
    draft.body = json.dumps({**draft.sale, "made_at": chance.choice(times)}).encode()
    draft.end = "either"


def _twice(draft: Draft, chance: random.Random) -> None:
    """The last of two keys counts, as in most parsers."""
    draft.body = draft.body.replace(b"{", b'{"sale_id": 1, "more": [{}], ', 1)


def _properties(draft: Draft, chance: random.Random) -> None:
    name = chance.choice(("message_id", "type", "app_id", "content_type", "content_encoding",
                          "correlation_id", "reply_to", "timestamp", "cluster_id"))  # fmt: skip
    draft.end = "either"
    if chance.random() < 0.3:
        draft.fields.pop(name, None)
    elif name == "timestamp":
        draft.fields[name] = chance.choice((bytes(8), b"\xff" * 8, b"\x80" + bytes(7)))
    else:
        text = b"%d" % draft.number if name == "message_id" else b""
        draft.fields[name] = short((text + chance.choice((b"", *_ODD)))[:255])


def _headers(draft: Draft, chance: random.Random) -> None:
    """Every type, under any name; none of it is a reason to refuse the message."""
    for place in range(chance.randrange(1, 8)):
        name = chance.choice((b"h%d" % place, *_OURS))
        draft.headers.append((name, chance.choice(_VALUES)))
    draft.end = "either"


def _attributes(draft: Draft, chance: random.Random) -> None:
    prefix = chance.choice((b"cloudEvents:", b"cloudEvents_"))
    name = chance.choice((b"id", b"type", b"source", b"tenant"))
    draft.headers.append((prefix + name, chance.choice(_VALUES)))
    draft.end = "either"


def _many_headers(draft: Draft, chance: random.Random) -> None:
    """As many as fit into a frame, or nearly; rare, because each takes a tenth of a second."""
    if chance.random() > _SELDOM:
        return
    size = chance.choice((20_000, 60_000, 120_000, 127_000))
    value = chance.choice((b"V", long(b""), b"f" + bytes(4), b"t\x01"))
    one = 5 + len(value)
    draft.headers += [(b"%04x" % place, value) for place in range(size // one)]
    draft.end = "either"


def _huge_header(draft: Draft, chance: random.Random) -> None:
    size = chance.choice((30_000, 64_000, 65_536, 100_000, 128_000))
    character = chance.choice((b"x", b"\xff", "\U0001f600".encode()))
    name = chance.choice((b"h", *_OURS))
    draft.headers.append((name, long(character * (size // len(character)))))
    draft.end = "either"


def _nested(draft: Draft, chance: random.Random) -> None:
    value = b"V"
    for _ in range(chance.randrange(1, _DEEP)):
        value = b"F" + table([(b"a", value)])
    draft.headers.append((chance.choice((b"h", *_OURS)), value))
    draft.end = "either"


def _names(draft: Draft, chance: random.Random) -> None:
    name = chance.choice((b"", *_ODD, "\u00e4".encode() * 65, b"y" * 129))
    draft.headers.append((name, chance.choice(_VALUES)))
    draft.end = "either"


def _routing(draft: Draft, chance: random.Random) -> None:
    """RabbitMQ sends a copy to each queue that CC names, whenever it is published."""
    main = "acme-orders"
    queue = long(chance.choice((main, f"{main}.dead-letters", "nowhere")).encode())
    name = chance.choice((b"CC", b"BCC"))
    draft.headers.append((name, b"A" + struct.pack(">I", len(queue)) + queue))
    draft.body, draft.end = b"{}", "dead letter"


def _unknown(draft: Draft, chance: random.Random) -> None:
    draft.fields["type"], draft.end = short(b"sale.%d" % draft.number), "dead letter"


def _too_much(draft: Draft, chance: random.Random) -> None:
    """Each line is within its limits, and the total is not."""
    line = {**draft.sale["lines"][0], "quantity": 10**6, "unit_price_cents": 10**12}
    draft.body = json.dumps({**draft.sale, "lines": [line] * chance.randrange(1, 20)}).encode()
    draft.end = "dead letter"


BREAKS: tuple[Callable[[Draft, random.Random], None], ...] = (
    _truncated, _noise, _large, _other_json, _wrong_field, _odd_text, _edges, _twice, _properties,
    _headers, _headers, _attributes, _many_headers, _huge_header, _nested, _names, _routing,
    _unknown, _too_much,
)  # fmt: skip
