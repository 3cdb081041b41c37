"""Rules D10 and D11: the chassis knows no slice, and slices know little of each other."""

import ast

from dev.lint.reading import imports, within
from dev.lint.source import CHASSIS, Found, Source


def business_in_the_chassis(source: Source, tree: ast.Module) -> Found:
    """What knows one slice serves no other, and falls when that slice goes.

    Let the slice say in its slice.py what the chassis has to know.
    """
    if source.parts[0] in CHASSIS:
        for node, name in imports(tree):
            if (inside := within(source, name)) and inside[0] not in CHASSIS:
                yield node, f"imports {'.'.join(inside)}"


def insides_of_another_slice(source: Source, tree: ast.Module) -> Found:
    """Two slices that know each other's insides cannot change one without the other.

    Import its messages and its repository, and nothing else of it.
    """
    folder, *inner = source.parts
    if not inner or folder in CHASSIS:
        return
    for node, name in imports(tree):
        other, *of_it = [*within(source, name), ""]
        if other == "service" or (
            other in source.folders - CHASSIS - {folder}
            and of_it[0] not in {"messages", "repository"}
        ):
            yield node, f"imports {'.'.join(within(source, name))}"
