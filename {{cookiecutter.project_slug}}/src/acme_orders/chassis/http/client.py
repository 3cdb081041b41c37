"""One connection of a client: uvicorn's protocol, bounded.

Alone, uvicorn takes a body in pieces of one byte, waits for ever for a request that does not come
or an answer that is not read, and closes so that whoever still sends does not see its answer.
"""

from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from acme_orders.chassis.http.clients import Clients, Waiting
from acme_orders.chassis.http.problem import MEDIA_TYPE, RETRY_AFTER, problem

_PIECE = 16 * 1024  # bytes that are looked at together; h11 refuses a longer head
_MOST_HEADERS = 100
_MOST_PIECES = 1000  # of a body, beside one for each so many bytes; each takes microseconds
_BYTES_A_PIECE = 256
_LINGER = 1.0  # seconds in which a client that still sends can see its answer
_MOST_IGNORED = 1024 * 1024  # bytes that it may send meanwhile


class Client(H11Protocol):
    """A connection that ends when its time is over, or when somebody needs its place.

    Args:
        clients: of the same port.
        uvicorn: what uvicorn gives to a protocol.
    """

    def __init__(self, clients: Clients, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.conn = self._bounded = _Connection()
        self._clients, self._leaving, self._ignored = clients, False, 0

    @property
    def waits_for(self) -> Waiting | None:
        """What the client has to do next; None while we are at work."""
        if self._leaving or self._raw.get_write_buffer_size():
            return "answer"
        if self.cycle is None or self.cycle.response_complete:
            return "head" if self.conn.trailing_data[0] else "request"
        return "body" if self.cycle.more_body else None

    @property
    def unread(self) -> int:
        """Bytes that wait for it."""
        return int(self._raw.get_write_buffer_size())

    def written(self) -> None:
        """Make room for what was written, if the client has not taken it at once."""
        if self.unread:
            self._clients.keep_room(self)

    # The protocol

    def connection_made(self, transport: Any) -> None:
        """Take the place of somebody who is slower, if there is one."""
        self._raw = transport
        super().connection_made(_Transport(transport, self))  # type: ignore[arg-type]
        if not self._clients.add(self):
            self.refuse(503, "all places are taken by requests at work", reason="clients")
            self.cut_off()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room."""
        self._clients.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Look at the data in small pieces: h11 limits a head only while it is not complete."""
        if self._leaving:
            self._ignored += len(data)
            if self._ignored > _MOST_IGNORED:
                self._raw.abort()
            return
        if self.waits_for == "request":
            self.touch()
        request = self.cycle
        for start in range(0, len(data), _PIECE):
            if not self.transport.is_closing():
                super().data_received(data[start : start + _PIECE])
        if self.cycle is not request:
            self.touch()

    def on_response_complete(self) -> None:
        """Go on with the next request; not after an answer to one that is still being sent."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self.leave()

    # The end

    def touch(self) -> None:
        """Count the time of this client anew."""
        self._clients.touch(self)

    def time_out(self) -> None:
        """End it, because its time is over."""
        match self.waits_for:
            case "request":
                self._raw.close()
            case "head" | "body" as part:
                self.refuse(408, f"the {part} of the request did not come in time", reason=part)
            case "answer":
                self._clients.refused("answer")
                self.cut_off()

    def cut_off(self) -> None:
        """End it at once."""
        self._raw.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or too much of it; uvicorn calls this."""
        self.refuse(self._bounded.status, self._bounded.refusal or msg, reason="malformed")

    def refuse(self, status: int, detail: str, *, reason: str) -> None:
        """Answer in place of the application, and end."""
        self._clients.refused(reason)
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.cut_off()  # an answer has begun
            return
        body = problem(status, detail)
        headers = [
            ("content-type", MEDIA_TYPE),
            ("content-length", str(len(body))),
            ("connection", "close"),
            *(RETRY_AFTER.items() if status == 503 else ()),  # noqa: PLR2004
        ]
        answer = h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status])
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self._raw.write(self.conn.send(event))
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.leave(unread=True)

    def leave(self, *, unread: bool = False) -> None:
        """Close, but not before a client that may still send can have read what we wrote.

        With data that nobody has read, the kernel would reset the connection, answer and all.
        """
        if self._leaving or self._raw.is_closing():
            return
        if not unread and self.conn.their_state in {h11.IDLE, h11.DONE, h11.MUST_CLOSE, h11.CLOSED}:
            self._raw.close()
            return
        self._leaving = True
        self.touch()
        self.flow.resume_reading()
        self._raw.write_eof()
        self.loop.call_later(_LINGER, self._raw.abort)

    @property
    def leaving(self) -> bool:
        """Whether it has had its answer, and nothing is read any more."""
        return self._leaving or bool(self._raw.is_closing())


class _Transport:
    """A transport that tells the client when it writes, and how it closes."""

    def __init__(self, raw: Any, client: Client) -> None:
        self._raw, self._client = raw, client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def write(self, data: bytes) -> None:
        if not self._raw.get_write_buffer_size():
            self._client.touch()
        self._raw.write(data)
        self._client.written()

    def close(self) -> None:
        self._client.leave()

    def is_closing(self) -> bool:
        return self._client.leaving


class _Connection(h11.Connection):
    """h11's, with limits on what costs more than its bytes say."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=_PIECE)
        self.status, self.refusal = 400, ""
        self._pieces = self._bytes = 0

    def next_event(self) -> Any:
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.status = error.error_status_hint
            raise
        if isinstance(event, h11.Request):
            self._pieces = self._bytes = 0
            if len(list(event.headers)) > _MOST_HEADERS:
                self._refuse(431, f"more than {_MOST_HEADERS} headers")
        elif isinstance(event, h11.Data):
            self._pieces, self._bytes = self._pieces + 1, self._bytes + len(event.data)
            if self._pieces > _MOST_PIECES + self._bytes // _BYTES_A_PIECE:
                self._refuse(400, "the body comes in very small chunks: send larger ones")
        return event

    def _refuse(self, status: int, why: str) -> None:
        self.status, self.refusal = status, why
        raise h11.RemoteProtocolError(why, error_status_hint=status)
