# feature: http_api
"""Requests with an Idempotency-Key: whoever repeats one has its effects once, and its answer again.

The key is entered first, in a transaction that encloses those of the route. The answer joins it
before COMMIT, so that a process that is killed leaves both or none. What the route leaves to the
background is done before COMMIT as well.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from acme_orders.chassis.database.lease import LEVELS, Isolation
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.errors import Conflict, IsolationTooLow
from acme_orders.chassis.http.explained import FAILED, explained
from acme_orders.chassis.http.kept_answers import Answer, KeptAnswers
from acme_orders.chassis.http.problem import RETRY_AFTER, Refused, refusal
from acme_orders.chassis.http.replayed import replayed
from acme_orders.chassis.tenancy.scope import current_scope  # feature: row, rls, schema

HEADER = "Idempotency-Key"
METHODS = ("POST", "PATCH")  # the others have their effects once anyway, or none
LONGEST = 255
_NAME = HEADER.lower().encode()
_KEY = re.compile(rf"[!-~]{{1,{LONGEST}}}")
_REFUSED, _FAILED = 400, 500
_AT_ONCE = 2  # requests with one key in this process: the first, and one that waits for it


class Keyed:
    """Answers a request that comes again as it did the first time.

    Args:
        app: that answers.
        routes: of it, such as `POST /parcels/{id}`; what fits none of them is left to the app.
        manager: of the database.
        answers: where they are kept.
        largest: bytes of an answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Iterable[str],
        *,
        manager: Manager,
        answers: KeptAnswers,
        largest: int,
    ) -> None:
        changing = (each for each in routes if each.startswith(METHODS))
        self._routes = [compile_path(route)[0] for route in changing]
        self._app, self._manager, self._answers = app, manager, answers
        self._largest = largest
        self._inside = Counter[str]()  # requests in this process, by their keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; one without a key as if all this were not here.

        Raises:
            Refused: the key is none, or that of another request.
        """
        given = [value for name, value in scope["headers"] if name == _NAME]
        if not given or not self._changes(f"{scope['method']} {scope['path']}"):
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._answer(_key(given), scope, receive)
        except Refused:
            raise
        except Exception as error:
            response = explained(error)
            await (response or refusal(_FAILED, FAILED))(scope, receive, send)
            if response is None:
                raise
            return
        await _give(answer, send)

    async def _answer(self, key: str, scope: Scope, receive: Receive) -> Answer:
        body = (await receive()).get("body", b"")
        key, digest = _of_subject(key, scope), _digest(scope, body)
        with self._at_work(key):
            for level in LEVELS:  # the weakest that is strong enough for all that the route does
                held = _Held(self._largest)
                with suppress(IsolationTooLow):
                    request = scope, replayed(body, receive), held
                    return await self._once(key, digest, level, held, request)
        raise AssertionError("no level is above the last")

    @contextmanager
    def _at_work(self, key: str) -> Iterator[None]:
        """Count a request; one waits for the first, more would take all places from others."""
        key = f"{current_scope()}: {key}"  # feature: row, rls, schema
        if self._inside[key] >= _AT_ONCE:
            raise _busy()
        self._inside[key] += 1
        try:
            yield
        finally:
            self._inside[key] -= 1
            if not self._inside[key]:
                del self._inside[key]

    def _changes(self, asked: str) -> bool:
        return any(route.match(asked) for route in self._routes)

    async def _once(
        self,
        key: str,
        digest: bytes,
        level: Isolation,
        held: "_Held",
        request: tuple[Scope, Receive, Send],
    ) -> Answer:
        with suppress(_Undo):
            async with self._manager.transaction("keyed_request", isolation=level) as transaction:
                if not await self._entered(key, digest):
                    return await self._known(key, digest)
                transaction.encloses = level
                try:
                    await self._app(*request)
                finally:
                    transaction.encloses = None
                answer = held.answer(digest)
                # What was refused without an effect may be asked again under the same key.
                if answer.status >= (_FAILED if transaction.parts else _REFUSED):
                    raise _Undo
                await self._answers.keep(key, answer)
        return answer

    async def _entered(self, key: str, digest: bytes) -> bool:
        try:
            return await self._answers.enter(key, digest)
        except Conflict as error:
            raise _busy() from error

    async def _known(self, key: str, digest: bytes) -> Answer:
        answer = await self._answers.find(key)
        if answer is None:
            raise Refused(503, f"what this {HEADER} led to is just being forgotten", "busy")
        if answer.digest != digest:
            about = f"another request came with this {HEADER}: give each request a key of its own"
            raise Refused(409, about, "malformed", [(HEADER, about)])
        return answer


class _Undo(Exception):
    """Ends a transaction without a COMMIT."""


class _Held:
    """Takes an answer instead of the client."""

    def __init__(self, largest: int) -> None:
        self._largest, self._complete = largest, False
        self._start: Message = {}
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        """Take a part of it."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        self._complete = not message.get("more_body", False)
        if len(self._body) > self._largest:
            raise ValueError(
                f"an answer to a request with {HEADER} has more than {self._largest} bytes "
                "(MAX_BODY_BYTES), and cannot be kept: answer with a reference"
            )

    def answer(self, digest: bytes) -> Answer:
        """All of it."""
        if not self._complete:
            raise ValueError(f"an answer to a request with {HEADER} has no end")
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._start["headers"]
        ]
        return Answer(digest, self._start["status"], headers, bytes(self._body))


def _busy() -> Refused:
    about = f"a request with this {HEADER} is at work: send it again later"
    return Refused(409, about, "busy", [(HEADER, about)], RETRY_AFTER)


async def _give(answer: Answer, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _key(given: Sequence[bytes]) -> str:
    key = b", ".join(given).decode("latin-1")
    if not _KEY.fullmatch(key):
        about = f"1 to {LONGEST} visible ASCII characters, once, are allowed"
        raise Refused(400, f"header {HEADER}: {about}", "malformed", [(HEADER, about)])
    return key


def _of_subject(key: str, scope: Scope) -> str:
    """The key as it is stored: whoever was admitted has keys of their own.

    No client can send one that has spaces, so nobody without a subject meets somebody's key.

    Raises:
        TypeError: the subject is no text; that of an object may be the address of the next one.
    """
    if (subject := scope.get("state", {}).get("subject")) is None:
        return key
    if not isinstance(subject, str | int | UUID):
        kind = type(subject).__name__
        raise TypeError(f"a guard has left {kind} as subject: leave a text, a number or a UUID")
    both = json.dumps([str(subject), key])
    return f"SHA-256 of subject and key: {hashlib.sha256(both.encode()).hexdigest()}"


def _digest(scope: Scope, body: bytes) -> bytes:
    parts = (scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
    head = "\0".join(parts).encode("utf-8", "surrogateescape")
    return hashlib.sha256(head + b"\0" + body).digest()
