# feature: http_api
"""Requests before the application: read to their end, so many at a time, answered quickly."""

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.share import Share
from acme_orders.chassis.http.explained import FAILED
from acme_orders.chassis.http.problem import Refused, refusal
from acme_orders.chassis.http.replayed import replayed
from acme_orders.chassis.supervision import cancelled, failure

_BODIES = 32  # of the largest size, in memory at once
LARGE = 64 * 1024  # bytes of a body; others have their turn after it was looked at


class Requests:
    """Lets requests in whose body is complete, so many at once.

    A request gives its place and its connection back when its answer begins: a client that is slow,
    in sending or in reading, holds neither.

    Args:
        app: that answers.
        manager: whose connections it uses.
        places: requests at work at once; each has one connection, and all have no more.
        wait: seconds for a place.
        longest: seconds from then to the beginning of the answer.
        largest_body: in bytes.
        inspect: raises Refused for what no route should see.
        refused: called with the reason whenever one is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        manager: Manager,
        places: int,
        wait: float,
        longest: float,
        largest_body: int,
        inspect: Callable[[Scope, bytes], None],
        refused: Callable[[str], None],
    ) -> None:
        self._app, self._manager = app, manager
        self._places, self._wait, self._longest = asyncio.Semaphore(places), wait, longest
        self._share = Share(places, wait=wait, setting="HTTP_CONCURRENCY")
        self._largest, self._inspect, self._refused = largest_body, inspect, refused
        self._in_memory = 0  # bytes of bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        body = bytearray()
        try:
            if await self._read(scope, receive, body):
                await self._answer(scope, bytes(body), receive, send)
        except Refused as error:
            self._refused(error.reason)
            await error.answer(scope, receive, send)
        finally:
            self._in_memory -= len(body)

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> bool:
        """Whether the whole body came, and not the end of the connection."""
        if int(Headers(scope=scope).get("content-length", 0)) > self._largest:
            raise self._too_large()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            more = message.get("body", b"")
            if len(body) + len(more) > self._largest:
                raise self._too_large()
            if self._in_memory + len(more) > _BODIES * self._largest:
                raise Refused(503, "too many bodies are on their way: try again later", "busy")
            body += more
            self._in_memory += len(more)
            if not message.get("more_body", False):
                return True

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._wait):
                await self._places.acquire()
        except TimeoutError:
            raise Refused(503, "too many requests at once: try again later", "busy") from None
        place, begun = Place(self._places), False
        try:
            self._inspect(scope, body)
            if len(body) > LARGE:
                await asyncio.sleep(0)
            with self._manager.sharing(self._share) as kept:
                async with asyncio.timeout(self._longest) as limit:

                    async def answer(message: Message) -> None:
                        nonlocal begun
                        if message["type"] == "http.response.start" and not limit.expired():
                            begun = True
                            limit.reschedule(None)
                            kept.give_back()
                            place.give_back()
                        await send(message)

                    await self._app(scope, replayed(body, receive), answer)
        except TimeoutError:
            if begun or not limit.expired():
                raise
            raise self._took_too_long() from None
        except (asyncio.CancelledError, SystemExit) as error:
            # A library lost its connection, or somebody wrote sys.exit(): FastAPI lets both pass.
            if cancelled():
                raise
            if not begun:
                await refusal(500, FAILED)(scope, receive, send)
            raise failure(error) from error
        finally:
            place.give_back()

    def _took_too_long(self) -> Refused:
        about = f"it took longer than {self._longest:g} s (HTTP_TIMEOUT), and was ended"
        return Refused(503, f"{about}: try again later", "time")

    def _too_large(self) -> Refused:
        return Refused(
            413,
            f"the body has more than {self._largest} bytes (MAX_BODY_BYTES): "
            "send a reference to large content",
            "too_large",
        )


class Place:
    """A place that is given back once."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places

    def give_back(self) -> None:
        """Let somebody else in; the second time nothing happens."""
        if self._places is not None:
            self._places.release()
            self._places = None
