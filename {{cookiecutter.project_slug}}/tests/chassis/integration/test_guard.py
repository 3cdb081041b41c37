# feature: http_api
"""What stands before the API, and the example of it that the documentation has."""

import asyncio
import json
import re
import textwrap  # feature: row, rls, schema
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from fastapi import APIRouter, Request
from jwt.algorithms import RSAAlgorithm
from starlette.types import Scope

from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.process.connected import connected
from acme_orders.chassis.process.exchange import Reply, exchange
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Slice

from readiness.two_tenants import TENANT  # feature: row, rls, schema
from tests.chassis.conftest import PROJECT, count, rows
from tests.chassis.service import SERVICE
from tests.chassis.slices.sales.messages import SaleForm

FORM = dict(SaleForm.example())
KEYS = "SELECT key FROM idempotency_keys"
ISSUER, AUDIENCE = "https://id.example", "parcels"


def example() -> Any:
    """The class in the documentation."""
    text = (PROJECT / "docs" / "requests.md").read_text("utf-8")
    (code,) = re.findall(r'```python\n(""".*?class Bearer:.*?)```', text, re.DOTALL)
    found: dict[str, Any] = {}
    # feature: row, rls, schema {
    ((indent, last),) = re.findall(r"^( +)(scope.setdefault.*)$", code, re.MULTILINE)
    (more,) = re.findall(r"```python\n(others = .*?)```", text, re.DOTALL)
    code = code.replace(last, f"{last}\n{textwrap.indent(more, indent)}")
    # feature: row, rls, schema }
    exec(code, found)
    return found["Bearer"]


class Provider:
    """An identity provider with two keys, of which it publishes one."""

    def __init__(self) -> None:
        self.keys = {"one": generate_private_key(65537, 2048)}
        self.other, self.looks = generate_private_key(65537, 2048), 0

        def give(request: BaseHTTPRequestHandler) -> None:
            self._give(request)

        methods = {"do_GET": give, "log_message": lambda *_: None}
        handler = type("Handler", (BaseHTTPRequestHandler,), methods)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"

    def _give(self, handler: BaseHTTPRequestHandler) -> None:
        self.looks += 1
        keys = [
            {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": id_, "use": "sig"}
            for id_, key in self.keys.items()
        ]
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(json.dumps({"keys": keys}).encode())

    def token(self, key: RSAPrivateKey | None = None, kid: str = "one", **changes: Any) -> str:
        """A token, good unless something is changed."""
        claims = {"sub": "ada", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60}
        claims |= {"tenant": str(TENANT)}  # feature: row, rls, schema
        given = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return jwt.encode(given, key or self.keys["one"], "RS256", {"kid": kid})


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """It answers."""
    found = Provider()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def whoami() -> APIRouter:
    """A route that knows who asks."""
    routes = APIRouter()

    @routes.get("/whoami")
    async def ask(request: Request) -> str:
        return str(request.state.subject)

    return routes


@pytest.fixture
async def service(
    settings: ChassisSettings, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    """The service in memory, with the guard of the documentation."""
    monkeypatch.chdir(PROJECT)
    about = SimpleNamespace(jwks_url=provider.url, jwt_issuer=ISSUER, jwt_audience=AUDIENCE)
    guard = example()(about)
    slices = (*SERVICE.slices, lambda _: Slice("whoami", routes=whoami))
    definition = replace(SERVICE, slices=slices, guard=lambda _: guard)
    patient = settings.model_copy(update={"lock_timeout": 20})
    async with connected(definition, patient, Metrics()) as found:
        yield found


async def asked(
    service: Service, token: str, method: str = "GET", path: str = "/whoami", **headers: str
) -> Reply:
    """One request."""
    said = {"Authorization": f"Bearer {token}"} if token else {}
    body = FORM if method == "POST" else None
    return await exchange(service, method, path, body, {**said, **headers})


async def keyed(service: Service, token: str, key: str = "one", **headers: str) -> Reply:
    """A sale with a key."""
    return await asked(service, token, "POST", "/sales", **{"Idempotency-Key": key, **headers})


async def test_who_has_a_token_is_admitted_and_known(service: Service, provider: Provider) -> None:
    """The route knows who it is; the keys are fetched once."""
    provider.looks = 0
    for _ in range(3):
        answer = await asked(service, provider.token())
        assert (answer.status, answer.json) == (200, "ada")
    assert provider.looks == 1


async def test_all_others_are_not(service: Service, provider: Provider) -> None:
    """401 with the reason and the scheme; and no token makes it look at the keys each time."""
    forged = partial(jwt.encode, {"sub": "ada", "iss": ISSUER, "aud": AUDIENCE})
    bad = [
        *("", "x", "a.b.c", provider.token()[:-5]),
        provider.token(exp=time.time() - 5),
        *(provider.token(exp=None), provider.token(sub=None)),
        *(provider.token(aud="others"), provider.token(iss="https://elsewhere.example")),
        provider.token(provider.other),
        *(provider.token(provider.other, kid=str(uuid4())) for _ in range(3)),
        forged(key="", algorithm="none", headers={"kid": "one"}),
        forged(key="s" * 32, algorithm="HS256", headers={"kid": "one"}),
    ]
    provider.looks = 0
    for token in bad:
        answer = await asked(service, token)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), token
        assert answer.headers["content-type"] == "application/problem+json"
    assert provider.looks <= 1


async def test_a_kept_answer_is_for_those_who_are_admitted(
    service: Service, provider: Provider
) -> None:
    """The key of a request is no token."""
    first = await keyed(service, provider.token())
    assert first.status == 202
    assert (await keyed(service, "")).status == 401
    assert await keyed(service, provider.token()) == first
    assert await count(service, "outbox") == 1


@pytest.mark.parametrize(
    ("ada", "bob"), [(("ada", "one"), ("bob", "one")), (("a", "bob"), ("ab", "ob"))]
)
async def test_a_key_is_one_of_its_subject(
    service: Service, provider: Provider, ada: tuple[str, str], bob: tuple[str, str]
) -> None:
    """Two that choose the same one do not meet, and nobody meets another by a name of his own."""
    both = (ada, bob)
    posts = [partial(keyed, service, provider.token(sub=sub), key) for sub, key in both]
    one, other = [await post() for post in posts]
    assert [one.status, other.status] == [202, 202]
    assert one.body != other.body
    assert await count(service, "outbox") == 2
    assert [await post() for post in posts] == [one, other]
    assert await count(service, "outbox") == 2


async def test_two_subjects_with_one_key_at_once_are_two(
    service: Service, provider: Provider
) -> None:
    """Neither waits for the other to get what that one was answered."""
    tokens = [provider.token(sub=sub) for sub in ("ada", "bob", "ada", "bob")]
    answers = await asyncio.gather(*(keyed(service, token) for token in tokens))
    assert {each.status for each in answers} == {202}
    ada, bob, *again = [each.body for each in answers]
    assert ada != bob
    assert again == [ada, bob]
    assert await count(service, "outbox") == 2


async def test_a_stored_key_says_nothing_of_its_subject(
    service: Service, provider: Provider
) -> None:
    """Who may be an address of e-mail; and nobody can send what is stored."""
    token = provider.token(sub="ada@example.org")
    assert (await keyed(service, token)).status == 202
    ((stored,),) = await rows(service, KEYS)
    assert "ada" not in stored
    assert (await keyed(service, token, stored)).status == 400


async def test_a_key_without_a_subject_is_stored_as_it_is(
    settings: ChassisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all were once; and what may be another subject each time is none, and an error."""
    monkeypatch.chdir(PROJECT)
    subject: object = None

    async def admit(scope: Scope) -> None:
        scope["state"] = {"user": "ada"} if subject is None else {"subject": subject}

    guard = SimpleNamespace(scheme={"type": "http", "scheme": "bearer"}, admit=admit)
    headers = dict[str, str]()
    headers |= {"X-Tenant-ID": str(TENANT)}  # feature: row, rls, schema
    async with connected(replace(SERVICE, guard=lambda _: guard), settings, Metrics()) as service:
        assert (await keyed(service, "", **headers)).status == 202
        assert await rows(service, KEYS) == [("one",)]
        subject = object()
        with pytest.raises(TypeError, match="has left object as subject: leave a text"):
            await keyed(service, "", **headers)
        assert await count(service, "outbox") == 1


async def test_the_document_says_so_and_is_for_everybody(service: Service) -> None:
    """With 401 among the answers of each operation."""
    document = (await asked(service, "", path="/openapi.json")).json
    assert (await asked(service, "", path="/docs")).status == 200
    assert (await asked(service, "", path="/docsx")).status == 401
    assert [*document["components"]["securitySchemes"].values()] == [example().scheme]
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["security"] == [{"guard": []}]
            assert "401" in operation["responses"]


# feature: row, rls, schema {
async def test_the_token_says_whose_data_it_is_about(service: Service, provider: Provider) -> None:
    """Whatever header a client sends."""
    for tenant, status in ((str(TENANT), 200), (str(uuid4()), 403), (None, 400)):
        token = provider.token(tenant=tenant)
        header = {"X-Tenant-ID": str(TENANT)}
        assert (await asked(service, token, path="/sales", **header)).status == status


# feature: row, rls, schema }
