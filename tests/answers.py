"""The questions of cookiecutter.json, and sets of answers worth trying."""

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hooks.post_gen_project import PLACEHOLDERS

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "{{cookiecutter.project_slug}}"
QUESTIONS: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))

Answers = dict[str, Any]

FLAGS = [question for question, default in QUESTIONS.items() if isinstance(default, bool)]
CHOICES = {
    question: values
    for question, values in QUESTIONS.items()
    if isinstance(values, list) and question[0] != "_"
}
DEFAULTS: Answers = {
    **PLACEHOLDERS,
    **{question: values[0] for question, values in CHOICES.items()},
    **{question: QUESTIONS[question] for question in FLAGS},
}
OPPOSITE: Answers = {
    **{question: values[-1] for question, values in CHOICES.items()},
    **{question: not QUESTIONS[question] for question in FLAGS},
}

# One sorts before everything else, the other after it: imports are sorted by name.
SHORTEST: Answers = {
    "project_name": "A",
    "project_slug": "a",
    "package_name": "a",
    "description": "x",
    "author_name": "y",
    "author_email": "a@b.c",
}
LONGEST: Answers = {
    "project_name": "Zyx Services of a Very Long Name, that Fills Fifty",
    "project_slug": "zyx-service-with-a-very-long-n",
    "package_name": "zyx_service_with_a_very_long_n",
    "description": "A sentence as long as allowed, " + "and longer " * 15 + "end!",
    "author_name": "Z" * 100,
    "author_email": "z" * 64 + "@" + "z" * 60 + ".example",
}
HOSTILE: Answers = {
    "project_name": "4 O'Brien & Sons (R+D), v1.0_x-y",
    "project_slug": "obrien-and-sons",
    "package_name": "obrien",
    "description": '""" \'a\' "b" \\ \\n \\u0041 ${HOME} $(id) `id` %s {x} #: - [c] </b> &lt; 😀 |',
    "author_name": 'Ann "Q" O\'Lee-Müller \\ Söhne, Ltd. 👩‍💻',
    "author_email": "o'lee+orders@mail.obrien.example",
}
NAMES: dict[str, Answers] = {"default": {}, "shortest": SHORTEST, "longest": LONGEST}


def complete(*changes: Mapping[str, Any]) -> Answers:
    """What the hooks get when these answers differ from the defaults."""
    answers = dict(DEFAULTS)
    for change in changes:
        answers.update(change)
    return answers


def every(questions: Mapping[str, list[Any]]) -> Iterator[Answers]:
    """Every combination of these values."""
    for values in itertools.product(*questions.values()):
        yield dict(zip(questions, values, strict=True))


def pairwise(questions: Mapping[str, list[Any]]) -> list[Answers]:
    """Few combinations in which any two values of any two questions meet."""

    def pairs(answers: Answers) -> set[tuple[Any, ...]]:
        return set(itertools.combinations(answers.items(), 2))

    candidates = list(every(questions))
    missing = set().union(*map(pairs, candidates))
    chosen = []
    while missing:
        best = max(candidates, key=lambda answers: len(pairs(answers) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen
