# feature: http_api
"""Any body of a request is answered in 100 ms of the event loop and 50 MB; a real process."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.chassis.edge.cost import LARGEST, LONGEST, MB, TRIES, Scales
from tests.chassis.edge.forms import bodies
from tests.chassis.edge.process import Running, running

LARGEST_ANSWER = 2000  # characters
PATHS = ("list", "dict", "plain", "two", "embedded", "anything")


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Running]:
    """The service in memory."""
    environment = {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "BROKER_URL": "memory://",
        "MAX_BODY_BYTES": str(MB),
    }
    with running(environment, tmp_path / "log") as found:
        yield found


def requests() -> Iterator[tuple[str, str, bytes]]:
    """Paths and bodies."""
    for number, (name, body) in enumerate(bodies(MB)):
        path = "payload" if number % 2 else PATHS[number // 2 % len(PATHS)]
        yield name, f"/forms/{path}", body[:MB]
    for path in PATHS:
        for count in (1_000, 12_000):
            for unit in (b"{}", b"[]", b'{"x":1,"y":1,"name":"a"}', b'{"x":"a"}'):
                yield f"{count}", f"/forms/{path}", b"[" + b",".join([unit] * count) + b"]"
                members = b",".join(b'"%d":%s' % (number, unit) for number in range(count))
                yield f"{count}", f"/forms/{path}", b"{" + members + b"}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", [19, pytest.param(1, marks=pytest.mark.long)])
def test_any_body_of_a_request_costs_what_its_size_allows(service: Running, step: int) -> None:
    """Also what FastAPI makes of it; and no answer is long."""
    scales, dear, before = Scales(), list[str](), service.memory
    for name, path, body in islice(requests(), 0, None, step):
        best = float("inf")
        for _ in range(TRIES):
            service.ask("GET", "/cost")
            answer = service.ask("POST", path, body)
            best = min(best, service.ask("GET", "/cost").content["seconds"])
            if scales.in_yardsticks(best) <= LONGEST:
                break
            scales.look_at_the_yardstick()
        assert answer.status in {200, 413, 422}, (name, path, answer)
        if scales.in_yardsticks(best) > LONGEST or len(answer.text) > LARGEST_ANSWER:
            dear.append(f"{path} {name}: {scales.in_yardsticks(best):.2f}, {answer.text[:100]}")
    assert dear == []
    assert service.memory - before < LARGEST
