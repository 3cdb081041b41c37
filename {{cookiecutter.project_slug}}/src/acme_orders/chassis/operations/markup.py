"""HTML whose texts are escaped wherever they come from: what is not `Html` is a text."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

_EMPTY = frozenset({"input", "link", "meta"})
_SHOWN = "\n\t"  # beside what can be printed


class Html(str):
    """Markup that `tag` has made; joined with a text it is a text again, and escaped."""

    __slots__ = ()


def printable(text: str) -> str:
    """Without what could turn the direction of a line or hide a part of it."""
    return "".join(each if each.isprintable() or each in _SHOWN else "\ufffd" for each in text)


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """An element; the name of an attribute may end with `_`."""
    shown = "".join(
        f' {key.rstrip("_")}="{escape(printable(str(value)))}"' for key, value in attributes.items()
    )
    inside = "".join(
        each if isinstance(each, Html) else escape(printable(str(each))) for each in content
    )
    return Html(f"<{name}{shown}>" + ("" if name in _EMPTY else f"{inside}</{name}>"))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """One line for each row; a word instead if there is none."""
    lines = [tag("tr", *(tag("td", "" if each is None else each) for each in row)) for row in rows]
    if not lines:
        return tag("p", "none", class_="none")
    head = tag("tr", *(tag("th", each) for each in heads))
    return tag("table", tag("thead", head), tag("tbody", *lines))


def moment(at: datetime) -> Html:
    """A point of time, to the second."""
    return tag("time", f"{at:%Y-%m-%d %H:%M:%S}")


def form(action: str, hidden: Iterable[tuple[str, object]], *content: Html) -> Html:
    """A form that is posted, with values that its reader does not see."""
    fields = [
        tag("input", type="hidden", name=name, value=value)
        for name, value in hidden
        if value is not None
    ]
    return tag("form", *fields, *content, method="post", action=action)


def document(title: str, *content: Html) -> Html:
    """A whole page."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width"),
        tag("title", title),
        tag("link", rel="stylesheet", href="/style.css"),
    )
    body = tag("body", tag("header", tag("a", title, href="/")), tag("main", *content))
    return Html("<!doctype html>" + tag("html", head, body, lang="en"))
