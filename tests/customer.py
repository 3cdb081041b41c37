"""Somebody who waits for a service to be ready, places an order and waits until it is processed.

Standard library only, so that it also runs as a script, where the network is another:
`python tests/customer.py OPERATIONS API ORDER TENANT`, with "" for what there is not.
"""

import json
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

PATIENCE = 60.0  # seconds, until something is as it has to be


def ask(
    method: str, url: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """One request; status 0 if nobody answers."""
    place = urlsplit(url)  # and not urllib.request, which would ask the proxy of the environment
    connection = HTTPConnection(place.netloc, timeout=30)
    try:
        connection.request(method, place.path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, HTTPException) as error:
        return 0, repr(error)
    finally:
        connection.close()


def until(status: int, request: Callable[[], tuple[int, str]]) -> str:
    """Ask again until the answer has this status; return its text."""
    deadline = time.monotonic() + PATIENCE
    while (answer := request())[0] != status:
        assert time.monotonic() < deadline, f"not {status} in time, but {answer}"
        time.sleep(0.1)
    return answer[1]


def ready(operations: str) -> str:
    """Wait for the probe; return the metrics."""
    until(200, lambda: ask("GET", f"{operations}/ready"))
    return until(200, lambda: ask("GET", f"{operations}/metrics"))


def order(api: str, body: str, tenant: str = "") -> str:
    """Place an order; return it when it has been through the queue and is stored."""
    headers = {"X-Tenant-ID": tenant} if tenant else {}
    placing = {**headers, "Content-Type": "application/json"}
    accepted = until(202, lambda: ask("POST", f"{api}/orders", body, placing))
    place = f"{api}/orders/{json.loads(accepted)['order_id']}"
    return until(200, lambda: ask("GET", place, None, headers))


if __name__ == "__main__":
    operations, api, body, tenant = sys.argv[1:]
    ready(operations)
    print(order(api, body, tenant) if api else "ready")
