"""Prints what the rules find."""

import argparse
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from dev import lint
from dev.lint.rules import RULES, findings
from dev.lint.source import sources


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every finding; return 1 if there is one."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.lint",
        description=lint.__doc__,
        epilog="\n".join(
            "{}  {}\n    {}.".format(each.code, *each.reason_and_help) for each in RULES
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    here = Path(__file__).parents[2]
    parser.add_argument("project", type=Path, nargs="?", default=here, help="its folder")
    try:
        files = list(sources(parser.parse_args(arguments).project))
    except LookupError as error:
        parser.error(str(error))
    found = sorted(chain.from_iterable(map(findings, files)))
    print("\n".join(map(str, found)) or f"nothing found in {len(files)} files")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
