"""Refuses answers before cookiecutter makes a folder for them; its first hook runs after that.

cookiecutter loads extensions of Jinja (`_extensions` in cookiecutter.json) before it does anything
else, with replayed answers, without hooks and under cruft too. A version before 2.1 looks for them
elsewhere, and all that it says is the name of the module it misses, which is therefore this one.
"""

import json
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment, pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context

ROOT = Path(__file__).parent


class Answers(Extension):
    """Looks at what was asked for as soon as it is known: at first without, then with prompts."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        sys.modules.pop(__name__, None)  # cruft reads two versions of a template in one process
        self._rules = runpy.run_path(str(ROOT / "hooks" / "pre_gen_project.py"))
        questions = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))
        for frame in _callers():
            known = frame.f_locals
            if "config_dict" in known and "extra_context" in known:
                defaults = known["config_dict"].get("default_context") or {}
                given = known["extra_context"] or {}
                self._refuse(self._rules["unusable"](questions, defaults, given))
            elif frame.f_globals.get("__name__") == "cookiecutter.cli" and "extra_context" in known:
                self._refuse(self._rules["unknown"](questions, known["extra_context"] or {}))
        self._checked = False

        @pass_context
        def finalize(context: Context, value: Any) -> Any:
            self._check(context.get("cookiecutter") or {})
            return value

        # Jinja passes it each value that it inserts; the first one is the folder's name.
        environment.finalize = finalize

    def _check(self, answers: Mapping[str, Any]) -> None:
        if "_template" in answers and not self._checked:  # before that, not all is answered
            self._refuse(self._rules["problems"](answers))
            self._checked = True

    def _refuse(self, bad: list[str]) -> None:
        if bad:
            print(self._rules["refusal"](bad), file=sys.stderr, flush=True)
            raise FailedHookException("The answers were refused.")


def _callers() -> Iterator[FrameType]:
    """Whoever called us; cookiecutter tells an extension neither configuration nor arguments."""
    frame = sys._getframe(1).f_back
    while frame:
        yield frame
        frame = frame.f_back
