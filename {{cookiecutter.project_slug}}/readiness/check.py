"""The form of a check, and of what it says."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import ClassVar

from readiness.rehearsal import Rehearsal


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
        """Yield every finding, and count in `inspected` what was looked at."""


@dataclass(frozen=True)
class Result:
    """What a check found; nothing to inspect is a failure too.

    `why_not` says why it could not look, where another check has found the cause.
    """

    id: str
    title: str
    advice: str
    inspected: int
    findings: tuple[str, ...]
    seconds: float = 0.0
    why_not: str = ""

    @property
    def passed(self) -> bool:
        """Whether there is evidence and nothing against it."""
        return bool(self.why_not) or (self.inspected > 0 and not self.findings)
