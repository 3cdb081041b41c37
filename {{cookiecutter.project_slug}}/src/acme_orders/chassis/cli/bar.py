"""How far something is that takes long: a bar with rate and time left, or lines in a log."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY = 10.0  # seconds, where nobody watches a bar


class Step(NamedTuple):
    """How far it is.

    Args:
        rows: that are done.
        estimate: of all of them.
        waits: why it waits; empty if it does not.
        completed: there are no more.
        part: of the work, with a bar of its own.
    """

    rows: int
    estimate: int
    waits: str = ""
    completed: bool = False
    part: str = ""


def watched(name: str, steps: Iterator[Step], console: Console) -> bool:
    """Go through all steps, and show each; returns whether there was one.

    Args:
        name: of the work.
        steps: that do it.
        console: a terminal gets a bar, anything else a line now and then.
    """
    return (_bar if console.is_terminal else _lines)(name, steps, console)


def _bar(name: str, steps: Iterator[Step], console: Console) -> bool:
    shown = ("{task.description}", "{task.completed:,.0f} of {task.total:,.0f}")
    rate = "{task.fields[rate]}  {task.fields[waits]}"
    texts = [TextColumn(each) for each in (*shown, rate)]
    columns = (texts[0], BarColumn(), texts[1], TimeRemainingColumn(), texts[2])
    done, tasks = False, {}
    with Progress(*columns, console=console) as bar:
        for step in steps:
            total = max(step.estimate, step.rows, 1)
            if step.part not in tasks:
                tasks[step.part] = bar.add_task(name, completed=step.rows, rate="", waits="")
            task = next(each for each in bar.tasks if each.id == tasks[step.part])
            rate_now = f"{task.speed:,.0f}/s" if task.speed else ""
            total = step.rows or 1 if step.completed else total
            bar.update(task.id, completed=step.rows, total=total, rate=rate_now, waits=step.waits)
            done = True
    return done


def _lines(name: str, steps: Iterator[Step], console: Console) -> bool:
    began, told, first, waits = time.monotonic(), float("-inf"), None, ""
    for step in steps:
        first = step.rows if first is None else first
        now = time.monotonic()
        if now - told < _LINE_EVERY and bool(step.waits) == bool(waits) and not step.completed:
            continue
        told, waits = now, step.waits
        rate = (step.rows - first) / max(now - began, 0.001)
        left = f", {max(step.estimate - step.rows, 0) / rate:.0f} s left" if rate else ""
        part = f" in {step.part}" if step.part else ""
        says = f"; waits: {waits}" if waits else f", {rate:.0f}/s{left}"
        console.print(f"{name}{part}: {step.rows} of about {step.estimate} rows{says}")
    return first is not None
