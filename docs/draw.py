"""Draws the pictures in README.md from what a generated project prints: `make pictures`."""

import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent / "pictures"
# The verb, and the words with which the part begins that is shown.
PARTS = {"demo": "Every message accounted for", "readiness": "title"}
WIDTH = 82  # columns
FONTS = re.compile(r"@font-face {.*?}\s*", re.DOTALL)  # from another host


def draw(project: Path, environment: str, verb: str, begin: str) -> None:
    """One picture of what a verb says there; the environment is one that has been set up."""
    command = ["make", "-s", f"VENV={environment}", "-o", f"{environment}/.ready", verb]
    colours = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
    ended = subprocess.run(command, cwd=project, env=colours, stdout=subprocess.PIPE, check=True)
    lines = ended.stdout.decode().splitlines()
    first = next(number for number, line in enumerate(lines) if begin in line)
    above = 1 if verb == "readiness" else 0  # the frame of the table
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    for line in lines[first - above :]:
        console.print(Text.from_ansi(line), soft_wrap=True)
    picture = console.export_svg(title=f"make {verb}", unique_id=verb)
    (HERE / f"{verb}.svg").write_text(FONTS.sub("", picture), "utf-8")


if __name__ == "__main__":
    for verb, begin in PARTS.items():
        draw(Path(sys.argv[1]), sys.argv[2], verb, begin)
