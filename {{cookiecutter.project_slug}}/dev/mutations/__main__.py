"""Names what nobody would notice: `make mutations`."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from dev import mutations
from dev.mutations.memory import Memory
from dev.mutations.mutant import Mutant
from dev.mutations.project import changed, mutants
from dev.mutations.workshop import Workshop
from dev.scratch import Scratch

Answer = tuple[Mutant, str | None, str]  # who, None if nobody was asked, and what they say


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if all were asked about and each was noticed."""
    parser = argparse.ArgumentParser(prog="make mutations", description=mutations.__doc__)
    parser.add_argument("--all", action="store_true", help="not only files that have changed")
    parser.add_argument("--since", default="HEAD", metavar="REF", help="changed since then in git")
    parser.add_argument("--minutes", type=float, default=15, help="after them, none is begun")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="copies of the project")
    parser.add_argument("--check", action="store_true", help="only whether this can be done")
    options = parser.parse_args(arguments)
    root, console = Path.cwd(), Console(highlight=False, soft_wrap=True)
    try:
        files = None if options.all else changed(root, options.since)
    except LookupError as error:
        parser.error(str(error))
    if options.check:
        return 0
    wanted = mutants(root)
    if files is not None:
        wanted = [each for each in wanted if files & {edit.file for edit in each.edits}]
    if not wanted:
        console.print(f"nothing of a slice has changed since {options.since}; all=1 takes all")
        return 0
    memory = Memory(root)
    with Scratch("mutations-") as scratch, Progress(console=console, transient=True) as progress:
        shops = SimpleQueue[Workshop]()
        for number in range(max(1, options.jobs)):
            shops.put(Workshop(root, scratch.path / str(number)))
        task = progress.add_task("the project as it is", total=len(wanted))
        if not memory.sound:
            shop = shops.get()
            who, says = shop.noticed(None, ())
            shops.put(shop)
            if who:
                console.print(Text(f"the project itself is red, mend that first: {who}: {says}"))
                return 1
            memory.keep(None, "")
        progress.update(task, description="mutations")
        began, answers = time.monotonic(), []
        for answer in _asked(wanted, memory, shops, options.jobs, 60 * options.minutes):
            answers.append(answer)
            progress.advance(task)
            console.print(_line(*answer)) if answer[1] is not None else None
    return _told(console, answers, time.monotonic() - began)


def _asked(
    wanted: Sequence[Mutant], memory: Memory, shops: SimpleQueue[Workshop], jobs: int, most: float
) -> Iterator[Answer]:
    """The answers, as they come."""
    end = time.monotonic() + most

    def ask(mutant: Mutant) -> Answer:
        known = memory.answer(mutant)
        if known is not None or time.monotonic() > end:
            return mutant, known, "as before"
        shop = shops.get()
        try:
            who, says = shop.noticed(mutant, memory.before(mutant.kind))
        finally:
            shops.put(shop)
        memory.keep(mutant, who)
        return mutant, who, says

    pool = ThreadPoolExecutor(max(1, jobs))
    try:
        for future in as_completed([pool.submit(ask, each) for each in wanted]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _line(mutant: Mutant, who: str | None, says: str) -> Text:
    if not who:
        return Text(f"survived  {mutant}", style="red")
    return Text(f"{who:<8}  {mutant}", style="dim" if says == "as before" else "")


def _told(console: Console, answers: Sequence[Answer], seconds: float) -> int:
    survivors = [str(mutant) for mutant, who, _ in answers if who == ""]
    left = sum(who is None for _, who, _ in answers)
    by = Counter(who for _, who, _ in answers if who)
    shown = ", ".join(f"{who} {number}" for who, number in by.most_common())
    if survivors:
        console.print(Text("\nNobody notices; a test or a check is missing, or it is not needed:"))
        console.print(Text("\n".join(f"  {each}" for each in sorted(survivors))))
    console.print(
        Text(
            f"\n{len(answers)} mutations: {by.total()} noticed ({shown}), {len(survivors)} "
            f"survived, {left} not asked about; {seconds:.0f} s"
        )
    )
    if left:
        console.print("Time was up: run it again to go on, or say minutes=60.")
    return 1 if survivors or left else 0


if __name__ == "__main__":
    sys.exit(main())
