"""Carries out a Dockerfile, step by step, each stage on a machine of its own (tests/machine.py).

The Python of its base image is one of this machine, of the same version where there is one; all
else that this machine has is there too. Only the instructions of our file are known.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.machine import Machine, interpreter, python_here

PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
# How pip gets at its index here, as a builder's configuration would say.
BUILD = ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT", "PIP_PROXY"]
BUILD += ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction and what stands behind it."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def sent(context: Path) -> set[Path]:
    """The files that .dockerignore lets the builder have: the last pattern that fits decides."""
    patterns = (context / ".dockerignore").read_text().split()
    kept = set()
    for file in (path for path in context.rglob("*") if path.is_file()):
        ignored = False
        name = file.relative_to(context)
        parts = [name, *name.parents][:-1]
        for pattern in patterns:
            bare = pattern.removeprefix("!").removeprefix("**/")
            deep = "**/" in pattern
            if any(fnmatch(each.name if deep else str(each), bare) for each in parts):
                ignored = pattern[0] != "!"
        if not ignored:
            kept.add(name)
    return kept


class Stage:
    """What one FROM begins."""

    def __init__(self, base: str, machine: Machine) -> None:
        self.machine, self.folder, self.user = machine, "/", "0:0"
        self.variables = {"PATH": PATH, "CC": "false"}  # no image has a compiler
        self.settings: dict[str, Any] = {}
        version = re.fullmatch(r"python:(\d+\.\d+)-slim", base)
        assert version, f"no image {base} here"
        machine.install(interpreter(version[1]) or python_here())

    def run(self, line: str) -> None:
        """A step in a shell, with the network of the builder."""
        outside = {name: os.environ[name] for name in BUILD if name in os.environ}
        self.machine.run(
            *("sh", "-c", line),
            folder=self.folder,
            user=self.user,
            variables={**outside, **self.variables},
            network=True,
        )

    def place(self, name: str) -> Path:
        """A path of the image, from outside; a relative one begins in its working folder."""
        return self.machine.path(
            os.path.normpath(f"{self.folder}/{name}" if name[0] != "/" else name)
        )


class Image:
    """An image that is built when its block begins; `context` has its Dockerfile."""

    def __init__(self, context: Path, folder: Path) -> None:
        self._context, self._folder = context, folder
        self._stages: dict[str, Stage] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for name, rest in instructions((self._context / "Dockerfile").read_text()):
                if name == "FROM":
                    base, _, alias = rest.partition(" AS ")
                    machine = stack.enter_context(Machine(self._folder / str(len(self._stages))))
                    self.last = self._stages[alias or "final"] = Stage(base, machine)
                else:
                    getattr(self, f"_{name.lower()}")(self.last, rest)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def start(
        self,
        arguments: list[str] | None = None,
        variables: Mapping[str, str] | None = None,
        *,
        restricted: bool = False,
    ) -> list[str]:
        """The command that starts its entry point, with these arguments or its own."""
        stage = self.last
        ends = arguments if arguments is not None else stage.settings["CMD"]
        return stage.machine.command(
            [*stage.settings["ENTRYPOINT"], *ends],
            folder=stage.folder,
            user=stage.user,
            variables={**stage.variables, **(variables or {})},
            restricted=restricted,
        )

    def check(self, variables: Mapping[str, str]) -> list[str]:
        """The command of its HEALTHCHECK, run beside the entry point with the same variables."""
        options, _, command = self.last.settings["HEALTHCHECK"].partition("CMD ")
        assert "--interval" in options
        return self.last.machine.command(
            json.loads(command),
            user=self.last.user,
            variables={**self.last.variables, **variables},
        )

    def _workdir(self, stage: Stage, rest: str) -> None:
        stage.folder = rest
        stage.place(rest).mkdir(parents=True, exist_ok=True)

    def _run(self, stage: Stage, rest: str) -> None:
        stage.run(rest)

    def _env(self, stage: Stage, rest: str) -> None:
        for each in shlex.split(re.sub(r"\$(\w+)", lambda m: stage.variables[m[1]], rest)):
            name, _, value = each.partition("=")
            stage.variables[name] = value

    def _user(self, stage: Stage, rest: str) -> None:
        stage.user = rest

    def _copy(self, stage: Stage, rest: str) -> None:
        *sources, target = rest.split()
        if sources[0].startswith("--from="):
            origin, source = self._stages[sources.pop(0).partition("=")[2]], sources[0]
            shutil.copytree(origin.place(source), stage.place(target), symlinks=True)
            return
        files = sent(self._context)
        for source in sources:
            under = [
                file
                for file in files
                if any(fnmatch(str(each), source) for each in (file, *file.parents))
            ]
            # Of a pattern, there may be none as long as the line has something else.
            assert under or "[" in source, f"COPY {source}: .dockerignore keeps it from the builder"
            for file in under:
                inner = file.name if fnmatch(str(file), source) else file.relative_to(source)
                goal = stage.place(target) / inner
                goal.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self._context / file, goal)

    def _keep(self, name: str, rest: str) -> None:
        self.last.settings[name] = json.loads(rest)

    def _cmd(self, _: Stage, rest: str) -> None:
        self._keep("CMD", rest)

    def _entrypoint(self, _: Stage, rest: str) -> None:
        self._keep("ENTRYPOINT", rest)

    def _healthcheck(self, stage: Stage, rest: str) -> None:
        stage.settings["HEALTHCHECK"] = rest

    def _expose(self, stage: Stage, rest: str) -> None:
        stage.settings.setdefault("EXPOSE", []).append(int(rest))
