"""What breaks whoever sends messages to a service or reads its events, by its AsyncAPI document."""

from collections.abc import Iterator, Mapping
from typing import Any

from readiness.contracts.narrowing import Tree, narrowing, surprises


def broken_messages(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What those who rely on the old document would miss or send in vain.

    What is accepted may be widened. What is published stays as it is; fields may be added.
    """
    before, after = _forms(old), _forms(new)
    for (side, name), schema in before.items():
        what = f"{side} {name}"
        if (side, name) not in after:
            yield what, "is gone"
            continue
        here, there = Tree(schema, old), Tree(after[side, name], new)
        compare = surprises if side == "published" else narrowing
        for place, why in dict(compare(here, there)).items():
            yield f"{what}: {place or 'the whole'}", why


def _forms(document: Mapping[str, Any]) -> Mapping[tuple[str, str], Any]:
    """The schema of each message that is accepted or published, by its type."""
    messages = document.get("components", {}).get("messages", {})
    return {
        (key.partition(".")[0], message["name"]): message["payload"]
        for key, message in messages.items()
    }
