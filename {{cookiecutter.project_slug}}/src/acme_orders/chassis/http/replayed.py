# feature: http_api
"""A body that was read, for whoever reads it next."""

from starlette.types import Message, Receive


def replayed(body: bytes, receive: Receive) -> Receive:
    """The body, and then whatever comes, which is the end of the connection."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        return next(messages, None) or await receive()

    return replay
