"""The form of a check, and of what it says."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from readiness.evidence import Planned
from readiness.rehearsal import Rehearsal
from readiness.waivers import Waived


class Check(ABC):
    """A question about the project.

    The first line of the class docstring is the title. The docstring of `inspect` is the advice
    that is printed with its findings. An instance serves one inspection.
    """

    id: ClassVar[str]
    whole: ClassVar[bool] = True  # False: show the inbox without its key, if the schema has none
    migrated: ClassVar[bool] = True  # False: it makes the schema itself, step by step

    def __init__(self) -> None:
        self.inspected = 0
        self.plans: list[Planned] = []
        self.left_out: list[tuple[str, str]] = []

    @classmethod
    def title(cls) -> str:
        """What holds when the check passes."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0].rstrip(".")

    @classmethod
    def advice(cls) -> str:
        """What to do about findings."""
        return " ".join(inspect.cleandoc(cls.inspect.__doc__ or "").split())

    @abstractmethod
    def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Yield every finding, and count in `inspected` what was looked at.

        The plans of queries go into `plans`; what it did not look at, and why, into `left_out`.
        """


@dataclass(frozen=True)
class Result:
    """What a check found; nothing to inspect is a failure too.

    Args:
        id: of the check.
        title: of the check.
        advice: about its findings; empty if they say it themselves.
        inspected: how many things were looked at.
        findings: that count.
        seconds: that it took.
        why_not: why it could not look, where another check has found the cause.
        waived: findings that `pyproject.toml` lets pass.
        plans: of the queries that it has looked at.
        left_out: what it did not look at, and why.
        places: file and line of what a finding names, for each of which that is known.
    """

    id: str
    title: str
    advice: str
    inspected: int
    findings: tuple[str, ...]
    seconds: float = 0.0
    why_not: str = ""
    waived: tuple[Waived, ...] = ()
    plans: tuple[Planned, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`ok`, `FAIL` or `not seen`."""
        if self.why_not:
            return "not seen"
        return "ok" if self.passed else "FAIL"

    @property
    def passed(self) -> bool:
        """Whether there is evidence and nothing against it."""
        return bool(self.why_not) or (self.inspected > 0 and not self.findings)
