# feature: http_api
"""The place of authentication: in front of everything that a request could reach, or learn.

A kept answer is given again before any route is asked, so a route cannot protect it.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from acme_orders.chassis.http.docs import PUBLIC
from acme_orders.chassis.http.problem import Refused


class Guard(Protocol):
    """Who may ask at all; what they may do is for the slices."""

    @property
    def scheme(self) -> Mapping[str, Any]:
        """The security scheme of OpenAPI, such as `{"type": "http", "scheme": "bearer"}`."""

    async def admit(self, scope: Scope) -> None:
        """Let a request in, before its body is read.

        It may leave what it knows in `scope["state"]`, which a route finds as `request.state`.
        Who asks is `subject` there, a text, number or UUID that is theirs alone. Without it two
        that send one Idempotency-Key would be one: the second would get the first one's answer.

        Raises:
            Refused: 401 with `WWW-Authenticate`, or 403.
        """


def guarded(guard: Guard, app: ASGIApp) -> ASGIApp:
    """Ask a guard about each request, and let it on to the application."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in PUBLIC:
            try:
                await guard.admit(scope)
            except Refused as error:
                await error.answer(scope, receive, send)
                return
        await app(scope, receive, send)

    return answer
