"""Dead letters as they are shown: what they contain stays hidden until somebody asks for it."""

import json
from collections.abc import Sequence
from typing import Any

from acme_orders.chassis.dead_letters.record import DeadLetter
from acme_orders.chassis.dead_letters.store import Decision, Selection, Summary
from acme_orders.chassis.errors import Malformed
from acme_orders.chassis.messaging.json_text import parse
from acme_orders.chassis.operations.markup import (
    Html,
    form,
    moment,
    printable,
    table,
    tag,
)

AT_ONCE = 100  # of a group, in one request; the command takes any number
LARGEST = 64 * 1024  # bytes of a body that are shown, or sent instead of it
_MOST_ROWS, _LETTERS_IN_A_ROW = 25, 100  # of the field in which a body is edited
_FACTS = ("id", "reason", "type", "error_type", "message_id", "source", "queue", "fingerprint")


def group(selection: Selection, count: int, letters: Sequence[Summary]) -> list[Html]:
    """Those that look alike, the oldest first, and what can be done about all of them."""
    alike = [(name, getattr(selection, name)) for name in ("reason", "type", "fingerprint")]
    rows = [
        (
            tag("a", each.id, href=f"/dead-letters/{each.id}"),
            moment(each.archived_at),
            each.reason,
            each.type,
            each.error_type,
            each.message_id,
            each.replays,
        )
        for each in letters
    ]
    heads = ("dead letter", "since", "reason", "type", "error", "message", "replays")
    which = ", ".join(f"{name} {value}" for name, value in alike if value is not None)
    many = f"the oldest {AT_ONCE}" if count > AT_ONCE else "all"
    return [
        tag("h2", f"{count} dead letters wait: {which}"),
        _decisions(alike, many) if count else tag("p", ""),
        table(heads, rows),
    ]


def letter(found: DeadLetter, decision: Decision, *, values: bool) -> list[Html]:
    """One of them, with what it contains or only its form."""
    facts = [(name.replace("_", " "), getattr(found, name)) for name in _FACTS]
    facts += [
        ("state", f"{decision.state}: {decision.note}" if decision.note else decision.state),
        ("failed at", moment(found.failed_at)),
        ("attempts", found.attempts),
        ("replays", found.replays),
        ("size", f"{found.body_bytes} bytes"),
    ]
    shown = [_headers(found), _body(found.body)]
    if values:
        kept = {"headers": found.headers, "properties": found.properties}
        shown = [f"{found.error_message}", json.dumps(kept, indent=2), _content(found.body)]
    link = tag(
        "a", "show values (they may be personal data)", href=f"/dead-letters/{found.id}?values=yes"
    )
    waiting = decision.state == "waiting"
    # Only where all of it is shown: what somebody does not see would be lost.
    text = editable(found) if values and waiting else None
    return [
        tag("h2", "Dead letter"),
        _decisions([("id", found.id)], "it") if waiting else tag("p", ""),
        table(("", ""), facts),
        *(tag("pre", each) for each in shown),
        tag("p", "") if values else tag("p", link),
        *([] if text is None else _edit(found, text)),
    ]


def _decisions(which: Sequence[tuple[str, object]], what: str) -> Html:
    why = tag("input", name="note", placeholder="why", required="", maxlength=200)
    return tag(
        "div",
        form("/dead-letters/replay", which, tag("button", f"Replay {what}")),
        form("/dead-letters/discard", which, why, tag("button", f"Discard {what}")),
        class_="decisions",
    )


def editable(found: DeadLetter) -> str | None:
    """Its body as a text in which nothing is lost when it is edited; None if there is none.

    What cannot be shown is written as JSON escapes it.
    """
    if found.outgoing or not found.whole or len(found.body) > LARGEST:
        return None
    try:
        text = found.body.decode().replace("\r", "\n")
        if printable(text) != text:
            parse(found.body)  # so that such a character is within a text
    except (UnicodeDecodeError, Malformed):
        return None
    return "".join(each if printable(each) == each else json.dumps(each)[1:-1] for each in text)


def _edit(found: DeadLetter, text: str) -> list[Html]:
    rows = min(_MOST_ROWS, text.count("\n") + len(text) // _LETTERS_IN_A_ROW + 3)
    area = tag("textarea", text, name="body", rows=rows, required="", spellcheck="false")
    why = tag("input", name="note", placeholder="why", required="", maxlength=200)
    button = tag("button", "Replay it with this body")
    edited = form("/dead-letters/edit", [("id", found.id)], area, why, button)
    return [tag("h2", "Edit its body, and replay it"), edited]


def _headers(found: DeadLetter) -> str:
    return f"headers: {', '.join(found.headers) or 'none'}"


def _body(body: bytes) -> str:
    """Its form: names and kinds of values."""
    if len(body) > LARGEST:
        return f"a body of more than {LARGEST} bytes"
    try:
        return json.dumps(_form(parse(body)), indent=2, ensure_ascii=False)
    except Malformed:
        return "a body that is no JSON"


def _form(value: Any) -> Any:
    match value:
        case dict():
            return {name: _form(each) for name, each in value.items()}
        case list():
            return [_form(each) for each in value]
    return {bool: "true or false", str: "text", type(None): None}.get(type(value), "number")


def _content(body: bytes) -> str:
    text = body[:LARGEST].decode("utf-8", "backslashreplace")
    if len(body) > LARGEST:
        return f"{text}…"
    try:
        return json.dumps(parse(body), indent=2, ensure_ascii=False)
    except Malformed:
        return text
