"""Documents of messages are made from code, and compared with what others rely on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field, create_model

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.messaging.asyncapi import asyncapi
from acme_orders.chassis.messaging.envelope import Payload
from acme_orders.chassis.process.described import messages_of

from readiness.contracts.documents import AGREED, KeptDocuments
from readiness.contracts.messages import broken_messages
from tests.chassis.service import SERVICE

NAME = "asyncapi.json"


class Scan(Payload):
    """Where a parcel was seen."""

    place: Annotated[str, Field(max_length=50)]
    parent: "Scan | None" = None


class Sent(Payload):
    """A parcel is on its way."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"number": 1, "scans": []}]})

    number: Annotated[int, Field(ge=0, lt=100)]
    kind: Literal["letter", "box"] = "box"
    note: str | None = None
    scans: list[Scan]


def with_fields(without: str = "", **fields: Any) -> type[Payload]:
    """The same message with other fields."""
    known: dict[str, Any] = {
        name: (each.rebuild_annotation(), each) for name, each in Sent.model_fields.items()
    }
    changed = {name: each for name, each in {**known, **fields}.items() if name != without}
    return create_model("Sent", __base__=Payload, **changed)


def document(kind: type[Payload], side: str = "accepts") -> dict[str, Any]:
    """Of a service that has this one message."""
    sides: dict[str, Mapping[str, type[Payload]]] = {"accepts": {}, "publishes": {}}
    sides[side] = {"parcel.sent": kind}
    return asyncapi(title="Parcels", version="1", queue="parcels", exchange="events", **sides)


def documents(kind: type[Payload]) -> dict[str, dict[str, Any]]:
    """The same in its file."""
    return {NAME: document(kind)}


class Placed(Payload):
    """A scan that says when, too."""

    place: str
    at: int


# What becomes of the message; what is found where it is accepted, and where it is published.
CHANGES: dict[str, tuple[type[Payload], list[str], list[str]]] = {
    "nothing": (with_fields(), [], []),
    "an optional field more": (with_fields(weight=(int, 0)), [], []),
    "a required field more": (with_fields(weight=(int, ...)), ["weight: is required"], []),
    "a field less": (with_fields("note"), ["note: is gone"], ["note: is gone"]),
    "another type": (
        with_fields(number=(str, ...)),
        ["number: was integer and becomes string"],
        ["number: was integer and becomes string"],
    ),
    "a narrower number": (
        with_fields(number=(Annotated[int, Field(ge=1, lt=100)], ...)),
        ["number: minimum was 0 and becomes 1"],
        ["number: minimum was 0 and becomes 1"],
    ),
    "a wider number": (
        with_fields(number=(Annotated[int, Field(ge=0, le=100)], ...)),
        [],
        ["number: may be what it never was"],
    ),
    "the same number in other words": (
        with_fields(number=(Annotated[int, Field(gt=-1, le=99)], ...)),
        [],
        [],
    ),
    "a choice less": (
        with_fields(kind=(Literal["box"], "box")),
        ["kind: 'letter' may no longer be there"],
        ["kind: 'letter' may no longer be there"],
    ),
    "a choice more": (
        with_fields(kind=(Literal["letter", "box", "pallet"], "box")),
        [],
        ["kind: may be what it never was"],
    ),
    "a choice for any text": (with_fields(kind=(str, "box")), [], ["kind: may be what"]),
    "no null": (
        with_fields(note=(str, "")),
        ["note: null is refused"],
        ["note: null is refused"],
    ),
    "null": (with_fields(number=(int | None, None)), [], ["number: "]),
    "other elements": (
        with_fields(scans=(list[Placed], ...)),
        ["scans[].parent: is gone", "scans[].at: is required"],
        ["scans[].parent: is gone", "scans[].place: may be what"],
    ),
    "fewer elements": (
        with_fields(scans=(Annotated[list[Scan], Field(max_length=9)], ...)),
        ["scans: maxItems was without a limit and becomes 9"],
        ["scans: maxItems was"],
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_breaks_others_is_found(case: str) -> None:
    """What is accepted may get wider, and what is published may get more fields."""
    kind, *expected = CHANGES[case]
    for side, places in zip(("accepts", "publishes"), expected, strict=True):
        name = {"accepts": "accepted", "publishes": "published"}[side]
        found = [
            f"{what.removeprefix(f'{name} parcel.sent: ')}: {why}"
            for what, why in broken_messages(document(Sent, side), document(kind, side))
        ]
        missing = [each for each in places if not any(one.startswith(each) for one in found)]
        assert (missing, bool(found)) == ([], bool(places)), (side, found)


def test_a_type_that_is_gone_breaks_others() -> None:
    """However much else there is."""
    nothing = {**document(Sent), "components": {}}
    assert list(broken_messages(document(Sent), nothing)) == [("accepted parcel.sent", "is gone")]


@pytest.fixture
def kept(tmp_path: Path) -> KeptDocuments:
    """The document of this release, in a folder."""
    kept = KeptDocuments(tmp_path)
    list(kept.write(documents(Sent)))
    kept.release(documents(Sent))
    return kept


def test_a_stale_document_is_refused_with_the_verb_that_writes_it(
    kept: KeptDocuments, tmp_path: Path
) -> None:
    """Another version of the service alone makes none stale."""
    now = documents(with_fields(weight=(int, 0)))
    (finding,) = kept.findings(now)
    assert "asyncapi.json is not what the code says: `make contracts-update` writes it" in finding
    list(kept.write(now))
    now[NAME]["info"]["version"] = "2"
    assert list(kept.findings(now)) == []
    assert (
        list(KeptDocuments(tmp_path / "new").findings(now)) == []
    )  # nothing has been recorded there


def test_what_breaks_others_stays_red_until_all_agree(kept: KeptDocuments, tmp_path: Path) -> None:
    """Writing the document does not help; a line with a reason does, as long as it is needed."""
    now = documents(with_fields("note"))
    list(kept.write(now))
    (finding,) = kept.findings(now)
    assert finding.startswith("accepted parcel.sent: note: is gone")
    file = tmp_path / AGREED
    file.write_text("accepted parcel.sent: note\n")
    with pytest.raises(ConfigurationError, match=r"agreed.txt:1: write what is broken, and why"):
        list(kept.findings(now))
    file.write_text("# agreed\n\naccepted parcel.sent: note (nobody sends it)\n")
    assert list(kept.findings(now)) == []
    list(kept.write(documents(Sent)))
    (needless,) = kept.findings(documents(Sent))
    assert "take the line out" in needless
    kept.release(now)
    assert not file.exists()


def references(node: Any, found: Callable[[str], None]) -> None:
    """Tell of each in a document."""
    for inner in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        references(inner, found)
    if isinstance(node, dict) and isinstance(node.get("$ref"), str):
        found(node["$ref"])


def test_the_document_of_a_service_is_whole() -> None:
    """Each reference leads somewhere, each message has a channel, and it is always the same."""
    made = messages_of(SERVICE)
    assert json.dumps(made) == json.dumps(messages_of(replace(SERVICE)))
    found: list[str] = []
    references(made, found.append)
    for each in found:
        place: Any = made
        for part in each.removeprefix("#/").split("/"):
            place = place[part]
    assert made["asyncapi"] == "3.0.0"
    taken = made["operations"]["receive.sale.made"]
    assert taken["action"] == "receive"
    assert made["channels"]["sale.made"]["address"] == "sale.made"
    assert made["operations"]["send.sale.booked"]["action"] == "send"
    fields = made["components"]["schemas"]["accepted.SaleMade"]["properties"]
    assert fields["lines"]["items"] == {"$ref": "#/components/schemas/accepted.SaleLine"}
