"""The routes of the operations page; it is no part of what orchestrators and Prometheus ask."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl
from uuid import UUID

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from acme_orders.chassis.dead_letters.choice import Unknown, choose, looking
from acme_orders.chassis.dead_letters.replay import Outcome, Replay
from acme_orders.chassis.dead_letters.store import DeadLetters, Selection
from acme_orders.chassis.dead_letters.store import State as Decided
from acme_orders.chassis.errors import Malformed, ServiceError
from acme_orders.chassis.messaging.envelope import Handler
from acme_orders.chassis.operations import letters
from acme_orders.chassis.operations.access import Access, Refused, claimed
from acme_orders.chassis.operations.markup import Html, document, tag
from acme_orders.chassis.operations.queries import Queries
from acme_orders.chassis.operations.state import State
from acme_orders.chassis.tenancy.scope import in_system_scope  # feature: row, rls, schema

log = structlog.get_logger()

_LARGEST_FORM = 4096  # bytes
_LARGEST_EDIT = 4 * letters.LARGEST  # a form has three for a byte that is no letter
_NO_BROKER = "This process has no connection to RabbitMQ: ask one that consumes."
_STYLE = Path(__file__).with_name("style.css")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser says of no page who sent it
    "X-Content-Type-Options": "nosniff",
}
Shown = list[Html]
Answer = Callable[[Request], Awaitable[Shown]]


class Page:
    """Shows the state of the service and its dead letters, and carries out decisions about them.

    Args:
        title: of the service.
        access: who may.
        state: of the service.
        queries: of this process.
        dead_letters: where they are.
        handlers: that take the messages, by type.
        largest_body: bytes of a message.
        replay: sends them again; None where this process has no broker.
    """

    def __init__(
        self,
        title: str,
        *,
        access: Access,
        state: State,
        queries: Queries,
        dead_letters: DeadLetters,
        handlers: Mapping[str, Handler],
        largest_body: int,
        replay: Replay | None,
    ) -> None:
        self._title, self._access, self._state = title, access, state
        self._queries = queries
        self._dead_letters, self._replay = dead_letters, replay
        self._handlers, self._largest_body = handlers, largest_body
        self._one = asyncio.Lock()  # whoever looks takes one connection, however many look

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/", self._answer(self._overview)),
            Route("/style.css", self._style),
            Route("/plan", self._answer(self._plan)),
            Route("/dead-letters", self._answer(self._group)),
            Route("/dead-letters/replay", self._answer(self._replayed), methods=["POST"]),
            Route("/dead-letters/discard", self._answer(self._discarded), methods=["POST"]),
            Route("/dead-letters/edit", self._answer(self._edited), methods=["POST"]),
            Route("/dead-letters/{id:uuid}", self._answer(self._letter)),
        ]

    async def _style(self, _: Request) -> Response:
        return Response(_STYLE.read_bytes(), media_type="text/css", headers=_HEADERS)

    def _answer(self, shown: Answer) -> Callable[[Request], Awaitable[Response]]:
        @in_system_scope("operations page")  # feature: row, rls, schema
        async def answer(request: Request) -> Response:
            status, headers = HTTPStatus.OK, dict(_HEADERS)
            try:
                async with self._one:
                    content = await shown(request)
            except (Refused, Unknown, ClientDisconnect) as error:
                refused = error if isinstance(error, Refused) else _refused(error)
                status, content = HTTPStatus(refused.status), [tag("p", refused, class_="bad")]
                if status is HTTPStatus.UNAUTHORIZED:
                    headers["WWW-Authenticate"] = 'Basic realm="operations", charset="UTF-8"'
                _tell(request, refused)
            except ServiceError as error:
                status, content = HTTPStatus.SERVICE_UNAVAILABLE, [tag("p", error, class_="bad")]
            return HTMLResponse(document(self._title, *content), status, headers)

        return answer

    async def _overview(self, request: Request) -> Shown:
        self._access.look(request)
        return await self._state.sections()

    async def _plan(self, request: Request) -> Shown:
        # A query that writes takes its locks, though nothing of it stays: not for everybody.
        who, name = self._access.known(request), request.query_params.get("query", "")
        log.info("operations.plan_shown", who=who, query=name)
        return await self._queries.plans(name)

    async def _group(self, request: Request) -> Shown:
        self._access.look(request)
        wanted = _selection(_plain(request.query_params.items()))
        async with looking(self._dead_letters):
            count, _ = await self._dead_letters.count(wanted)
            found = await self._dead_letters.page(wanted, limit=letters.AT_ONCE)
        return letters.group(wanted, count, found)

    async def _letter(self, request: Request) -> Shown:
        values, identity = "values" in request.query_params, request.path_params["id"]
        if values:
            log.info("dead_letters.values_shown", who=self._access.known(request), id=str(identity))
        else:
            self._access.look(request)
        async with looking(self._dead_letters):
            found = await self._dead_letters.by_id(identity)
        if found is None:
            raise Refused(404, f"There is no dead letter {identity}.")
        return letters.letter(*found, values=values)

    async def _replayed(self, request: Request) -> Shown:
        who, given = self._access.change(request), await _given(request)
        if self._replay is None:
            raise Refused(409, _NO_BROKER)
        done = dict.fromkeys(Outcome, 0)
        _, chosen = await choose(self._dead_letters, _selection(given), letters.AT_ONCE)
        try:
            async for one in chosen:
                done[await self._replay.send(one, note=f"by {who}")] += 1
        finally:
            told = {each.name.lower(): count for each, count in done.items()}
            log.info("dead_letters.replayed", who=who, which=given, **told)
        said = ", ".join(f"{count} {each.value}" for each, count in done.items() if count)
        return [tag("p", said or "none of them waits")]

    async def _edited(self, request: Request) -> Shown:
        who, given = self._access.change(request), await _given(request, _LARGEST_EDIT)
        if self._replay is None:
            raise Refused(409, _NO_BROKER)
        if not (why := given.get("note", "").strip()):
            raise Refused(400, "Say why, for others.")
        (identity,) = _selection({"id": given.get("id", "")}).ids
        async with looking(self._dead_letters):
            found = await self._dead_letters.by_id(identity)
        if found is None:
            raise Refused(404, f"There is no dead letter {identity}.")
        if found[0].outgoing:
            raise Refused(409, "It is an event of ours, which goes back as dead_letters has it.")
        body, type_ = given.get("body", "").encode(), found[0].type or ""
        if (handler := self._handlers.get(type_)) is None:
            raise Refused(422, f"Nothing was sent: there is no handler for {type_!r}.")
        if len(body) > self._largest_body:
            raise Refused(413, f"A body has at most {self._largest_body} bytes (MAX_BODY_BYTES).")
        try:
            handler.decoder.from_json(body, largest=self._largest_body)
        except Malformed as error:
            raise Refused(422, f"Nothing was sent: this is no {type_}: {error}") from None
        outcome = await self._replay.send(identity, note=f"edited by {who}: {why}", body=body)
        log.info("dead_letters.edited", who=who, id=str(identity), why=why, outcome=outcome.value)
        return [tag("p", outcome.value)]

    async def _discarded(self, request: Request) -> Shown:
        who, given = self._access.change(request), await _given(request)
        if not (why := given.pop("note", "").strip()):
            raise Refused(400, "Say why, for others.")
        _, chosen = await choose(self._dead_letters, _selection(given), letters.AT_ONCE)
        ids = [one async for one in chosen]
        async with self._dead_letters.manager.transaction("dead_letters.discard"):
            note = f"{why} ({who})"
            count = await self._dead_letters.decide(ids, Decided.discarded, note=note)
        log.info("dead_letters.discarded", who=who, which=given, discarded=count)
        return [tag("p", f"{count} discarded")]


async def _given(request: Request, largest: int = _LARGEST_FORM) -> dict[str, str]:
    """The fields of a form."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > largest:
            raise Refused(413, f"A form has at most {largest} bytes.")
    return _plain(parse_qsl(body.decode("utf-8", "replace")))


def _plain(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Texts that PostgreSQL takes."""
    found = dict(given)
    if any("\x00" in value for value in found.values()):
        raise Refused(400, "A text has a NUL, which PostgreSQL cannot store.")
    return found


def _refused(error: Unknown | ClientDisconnect) -> Refused:
    if isinstance(error, Unknown):
        return Refused(404, str(error))
    return Refused(400, "The form came no further than half way.")


def _tell(request: Request, refused: Refused) -> None:
    """Of each change that was refused, and of whoever tries to get in; the log bounds its lines.

    A browser asks without a name first.
    """
    guessed = refused.status == HTTPStatus.UNAUTHORIZED and request.headers.get("authorization")
    if guessed or request.method == "POST" or refused.status == HTTPStatus.FORBIDDEN:
        log.warning(
            "operations.refused",
            who=claimed(request),
            address=request.client and request.client.host,
            asked=f"{request.method} {request.url.path}",
            status=refused.status,
            why=str(refused),
        )


def _selection(given: Mapping[str, str]) -> Selection:
    """Those dead letters that are meant; nobody means all of them by saying nothing."""
    try:
        ids = (UUID(given["id"]),) if "id" in given else ()
    except ValueError:
        raise Refused(400, "This is no id of a dead letter.") from None
    reason, fingerprint, type_ = (given.get(each) for each in ("reason", "fingerprint", "type"))
    if not (ids or reason or fingerprint or type_):
        raise Refused(400, "Say which: id, or reason, fingerprint and type.")
    return Selection(ids=ids, reason=reason, fingerprint=fingerprint, type=type_)
