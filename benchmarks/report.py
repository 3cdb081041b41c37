"""Writes RESULTS.md and its plot from what `compare.py` measured: `report.py RESULTS.json`."""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "results"  # the same file for the same figures
from matplotlib import pyplot as plt  # noqa: E402

HERE = Path(__file__).parent
MIB = 2**20


def summary(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Medians of the rounds; of memory the most."""
    rates = [each["messages"] / each["seconds"] for each in rounds]
    return {
        "rate": median(rates),
        "least": min(rates),
        "most": max(rates),
        "cpu": median(each["cpu"] / each["messages"] * 1e6 for each in rounds),
        "memory": max(each["memory"] for each in rounds) / MIB,
    }


def best(drains: dict[str, dict[str, float]], beginning: str) -> dict[str, float]:
    """The fastest of those whose name begins so."""
    found = [each for name, each in drains.items() if name.startswith(beginning)]
    return max(found, key=lambda each: each["rate"])


def results(found: dict[str, Any]) -> str:
    """The text."""
    drains = {name: summary(rounds) for name, rounds in found["drains"].items()}
    core = best(drains, "FastStream + SQLAlchemy Core")["rate"]
    orm = best(drains, "FastStream + SQLAlchemy ORM")["rate"]
    limit = drains["hand-written"]["rate"]
    options = found["options"]
    lines = [
        "# Results",
        "",
        f"Measured {found['at']} on {found['machine']}. "
        + ", ".join(f"{name} {version}" for name, version in found["servers"].items())
        + ".",
        "",
        "Command: `make bench "
        + " ".join(
            f"{name.upper()}={options[name]}"
            for name in ("seed", "rounds", "messages", "backlog", "rows")
        )
        + "`.",
        "",
        "Everybody drains the same queue into the same tables, in turns, on servers that write to",
        "disk (`fsync=on`): medians of the rounds, in brackets the slowest and the fastest. CPU is",
        "that of the process alone. Rates depend on the machine, ratios much less.",
        "",
        "| | messages/s | to FastStream, Core | to FastStream, ORM | to hand-written | CPU each "
        "| memory |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {each['rate']:,.0f} ({each['least']:,.0f} to {each['most']:,.0f}) "
        f"| {each['rate'] / core:.1f} | {each['rate'] / orm:.1f} | {each['rate'] / limit:.2f} "
        f"| {each['cpu']:.0f} µs | {each['memory']:.0f} MiB |"
        for name, each in drains.items()
    ]
    lines += ["", "![messages per second](results.svg)", "", "## The service alone (aiopg)", ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {what} | {line} |" for what, line in found["suite"]]
    lines += ["", "## Versions", ""]
    lines += [
        f"* {who}: " + ", ".join(f"{name} {version}" for name, version in named.items())
        for who, named in found["versions"].items()
    ]
    return "\n".join(lines) + "\n"


def plot(found: dict[str, Any], file: Path) -> None:
    """Bars of the medians, with the range of the rounds."""
    drains = {name: summary(rounds) for name, rounds in found["drains"].items()}
    ordered = sorted(drains, key=lambda name: drains[name]["rate"])
    rates = [drains[name]["rate"] for name in ordered]
    reach = [
        [drains[name]["rate"] - drains[name]["least"] for name in ordered],
        [drains[name]["most"] - drains[name]["rate"] for name in ordered],
    ]
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(ordered) + 1))
    colours = ["#2a6f97" if name.startswith("handler") else "#b0b7bd" for name in ordered]
    axes.barh(ordered, rates, xerr=reach, color=colours, ecolor="#555555", capsize=3)
    axes.set_xlabel("messages per second, median of the rounds")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Write both files beside this one."""
    found = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    (HERE / "RESULTS.md").write_text(results(found), "utf-8")
    plot(found, HERE / "results.svg")


if __name__ == "__main__":
    main()
