"""Runs the command line and kills the process with SIGKILL when it calls a method.

`python -m tests.acceptance.killed_at MODULE:CLASS.METHOD COMMAND …`
"""

import importlib
import os
import signal
import sys
from typing import Any

from acme_orders.cli import main


def kill_at(point: str) -> None:
    """Replace a method by death."""
    module, _, path = point.partition(":")
    owner, _, name = path.partition(".")

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(getattr(importlib.import_module(module), owner), name, die)


if __name__ == "__main__":
    kill_at(sys.argv.pop(1))
    main()
