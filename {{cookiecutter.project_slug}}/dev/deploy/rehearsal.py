"""One deploy from its beginning to its end, and the reasons why it must not be done."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acme_orders.chassis.errors import ServiceError
from acme_orders.chassis.migrations.files import FOLDER

from dev.deploy.fleet import SETTINGS, Broken, Fleet, Member
from dev.deploy.load import Load
from dev.deploy.releases import Release
from dev.deploy.requests import Requests  # feature: http_api
from dev.environment import OTHER_ADDRESSES
from readiness.sample import FILE, plant
from readiness.scratch import rows_of
from readiness.two_tenants import TENANT  # feature: row, rls, schema

_INSIDE = Path("dev", "deploy", "inside.py")
_REGISTERED = "SELECT 1 FROM public.tenants WHERE id = %s"  # feature: row, rls, schema
_STORIES, _VARIED = 4000, 8  # of messages, and those with other values, which take time to find
_WARM = 40  # messages that a release has to process
_BEFORE_THE_KILL = 1.0  # seconds, in which the new release begins to migrate
_WHILE_BOTH_RUN = 6.0  # seconds
_PATIENCE = 90.0  # seconds without progress; a busy machine starts a process in half a minute
_AT_MOST = 600  # seconds; on an idle machine it takes less than 60
Say = Callable[[str], None]
Answer = Mapping[str, Any]


@dataclass
class Rehearsal:
    """A deploy.

    Args:
        old: the release that runs.
        new: the one that takes its place.
        database_url: an empty database.
        broker_url: an empty virtual host.
        folder: for logs.
        say: tells how far it is.
    """

    old: Release
    new: Release
    database_url: str
    broker_url: str
    folder: Path
    say: Say
    reasons: list[str] = field(default_factory=list)
    begun: bool = False  # the old release runs, so that there can be a verdict

    def __post_init__(self) -> None:
        urls = dict.fromkeys(("DATABASE_URL", *OTHER_ADDRESSES), self.database_url)
        self._settings = {**SETTINGS, **urls, "BROKER_URL": self.broker_url}
        self._fleet = Fleet(self.folder, self._settings)
        self._load = Load(self.database_url, self.broker_url)
        self._requests = Requests(self._fleet)  # feature: http_api

    async def run(self) -> None:
        """Carry it out; afterwards `reasons` has what speaks against it."""
        try:
            async with asyncio.timeout(_AT_MOST):
                await self._deploy()
        except (RuntimeError, TimeoutError) as error:
            self.reasons.append(str(error) or f"it takes longer than {_AT_MOST} s")
        finally:
            self._fleet.close()

    async def _deploy(self) -> None:
        self.say(f"{self.old.name} migrates; two processes of it start")
        await self._prepare()
        first, second, told = await asyncio.gather(
            self._start(self.old), self._start(self.old), self._ask(self.old, _STORIES, _VARIED)
        )
        await self._load.listen(told["exchange"])
        async with self._sending(told):
            await self._until(lambda: self._processed(_WARM), "the old release processes messages")
            known = self._fleet.broken()
            self.begun = True
            self.say("the new release migrates; a process of the old one is killed meanwhile")
            migrating = asyncio.create_task(self._run(self.new, "migrate", "up"))
            await asyncio.sleep(_BEFORE_THE_KILL)
            await asyncio.to_thread(first.kill)
            if reason := await migrating:
                self.reasons.append(f"`migrate up` of the new release fails: {reason}")
                return
            self.say("the old release goes on; a process of the new one starts")
            third, after = await asyncio.gather(self._start(self.new), self._ask(self.old))
            self._compare(told, after, self.old)
            await asyncio.sleep(_WHILE_BOTH_RUN)
            self._look(known)
            if self.reasons:
                return
            self.say("the last process of the old release ends; another one of the new starts")
            await asyncio.to_thread(second.stop)
            _, fresh = await asyncio.gather(
                self._start(self.new), self._ask(self.new, _STORIES + _WARM)
            )
            self._compare(told, fresh, self.new)
        some = fresh["messages"][-_WARM:]  # of stories that nobody has told yet
        await self._load.run(fresh["queue"], some)
        await self._until(self._settled, "each message comes to an end")
        self.say(f"{len(self._load.sent)} messages were sent, and each has come to an end")
        self.say(f"{self._requests.answered} requests were answered")  # feature: http_api
        self._look(known)
        await self._account(third)

    async def _prepare(self) -> None:
        if (sample := self.new.folder / FILE).exists():
            await asyncio.to_thread(self._plant, sample)
        if reason := await self._run(self.old, "migrate", "up"):
            raise RuntimeError(f"`migrate up` of {self.old.name} fails by itself: {reason}")
        # feature: row, rls, schema {
        if rows_of(self.database_url, _REGISTERED, (str(TENANT),)):
            return  # the sample of a developer's database has it
        if reason := await self._run(self.old, "tenants", "add", "first", "--id", str(TENANT)):
            raise RuntimeError(f"`tenants add` of {self.old.name} fails: {reason}")
        # feature: row, rls, schema }

    def _plant(self, sample: Path) -> None:
        try:
            plant(self.database_url, self.old.folder / FOLDER, sample)
        except ServiceError as error:
            raise RuntimeError(f"the sample cannot be loaded: {error}") from error
        # What waits there was meant for others, and speaks against neither release.
        rows_of(self.database_url, "TRUNCATE outbox, dead_letters")
        self.say(f"the rows of {FILE} are there")

    async def _start(self, release: Release) -> Member:
        return await asyncio.to_thread(self._fleet.start, release)

    async def _run(self, release: Release, *arguments: str) -> str:
        """Run a command; what it says if it fails."""
        status, _, said = await asyncio.to_thread(
            release.run, release.command(*arguments), self._settings
        )
        return " ".join(said.split())[-600:] or f"status {status}" if status else ""

    async def _ask(self, release: Release, count: int = 0, varied: int = 0) -> Any:
        script = release.folder / _INSIDE
        if not script.exists():  # it is older than the rehearsal
            script = self.new.folder / _INSIDE
        command = [sys.executable, str(script), str(count), str(varied)]
        status, answer, said = await asyncio.to_thread(release.run, command, self._settings)
        if status:
            raise RuntimeError(f"{release.name} cannot be asked for its queries: {said[-600:]}")
        return json.loads(answer.splitlines()[-1])

    def _compare(self, before: Answer, after: Answer, release: Release) -> None:
        known = {each["query"] for each in before["failing"]}
        for each in after["failing"]:
            # What data the example needs is known of queries that could be run before.
            of_schema = release is self.old or each["sqlstate"].startswith("42")
            if each["query"] not in known and of_schema:
                self.reasons.append(
                    f"{release.name} cannot run {each['query']} on the new schema: {each['error']} "
                    f"(SQLSTATE {each['sqlstate'] or 'none'}) in: {each['statement']}"
                )

    def _look(self, known: Mapping[Broken, int]) -> None:
        for broken, count in self._fleet.broken().items():
            more = count - known.get(broken, 0)
            reason = f"SQLSTATE {broken.sqlstate} in {broken.query} of {broken.release}"
            if more > 0 and not any(each.startswith(reason) for each in self.reasons):
                self.reasons.append(f"{reason}, {more} times under load")
        for member in self._fleet.ended():
            reason = f"{member.name} ended with status {member.process.returncode}"
            if not any(each.startswith(reason) for each in self.reasons):
                self.reasons.append(f"{reason}:\n{member.tail()}")

    async def _account(self, last: Member) -> None:
        for count, type_, why in await self._load.dead():
            self.reasons.append(f"{count} messages {type_} became dead letters: {why}")
        # feature: http_api {
        for line in dict.fromkeys(self._requests.refused):
            self.reasons.append(f"a request fails at {line}")
        # feature: http_api }
        if not last.ready():
            self.reasons.append(f"{last.name} is not ready at the end:\n{last.tail()}")

    @asynccontextmanager
    async def _sending(self, told: Answer) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._load.run(told["queue"], told["messages"]))]
        tasks.append(asyncio.create_task(self._requests.run()))  # feature: http_api
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _processed(self, count: int) -> bool:
        return len(self._load.sent) - len(await self._load.missing()) >= count

    async def _settled(self) -> bool:
        return not await self._load.missing() and not await self._load.unpublished()

    async def _until(self, condition: Callable[[], Any], what: str) -> None:
        deadline, left = time.monotonic() + _PATIENCE, -1
        while not await condition():
            missing, waiting = await self._load.missing(), await self._load.unpublished()
            if len(missing) + waiting != left:
                deadline, left = time.monotonic() + _PATIENCE, len(missing) + waiting
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"no progress for {_PATIENCE:.0f} s until {what}; {len(missing)} messages are "
                    f"missing, such as {', '.join(sorted(missing)[:3])}; {waiting} events wait in "
                    "the outbox"
                )
            await asyncio.sleep(0.2)
