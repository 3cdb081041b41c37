"""What slices have, what does not go together, and what hangs from none."""

import importlib
import re  # feature: http_api
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial  # feature: http_api
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import APIRouter  # feature: http_api

from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.database.settings import DatabaseSettings
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.http.application import application  # feature: http_api
from acme_orders.chassis.messaging.envelope import Handler, Payload
from acme_orders.chassis.messaging.event import Event
from acme_orders.chassis.messaging.outbox import Outbox
from acme_orders.chassis.migrations.files import Migration, migrations
from acme_orders.chassis.migrations.tables import tables_of
from acme_orders.chassis.observability.metrics import Metrics
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Chassis, Definition, Slice

from readiness.strays import strays, without_table
from tests.chassis.service import SERVICE

NOWHERE = "postgresql://nobody@localhost/none"


class Parcel(Payload):
    """A message."""


async def handle(parcel: Parcel) -> None:
    """Do nothing with it."""


@pytest.fixture
def chassis() -> Chassis[ChassisSettings]:
    """Not connected."""
    settings = SERVICE.load_settings(
        _env_file=None, environment="test", database_url=NOWHERE, broker_url="memory://"
    )
    manager = Manager(DatabaseSettings(database_url=NOWHERE, pool_size=1), Metrics())
    return Chassis(settings, manager, Outbox(manager))


CLASHES = {
    "two slices with the name 'one'": (Slice("one"), Slice("one")),
    "'one' and 'other' both have a handler of 'parcel.sent'": (
        Slice("one", handlers={"parcel.sent": Handler(Parcel, handle)}),
        Slice("other", handlers={"parcel.sent": Handler(Parcel, handle)}),
    ),
    "'one' and 'other' both publish 'parcel.lost'": (
        Slice("one", publishes=(Event("parcel.lost", Parcel),)),
        Slice("other", publishes=(Event("parcel.lost", Parcel, needs_listener=True),)),
    ),
}


@pytest.mark.parametrize("says", CLASHES)
def test_slices_that_do_not_go_together_are_refused(
    chassis: Chassis[ChassisSettings], says: str
) -> None:
    """With both places and what helps."""
    one, other = CLASHES[says]
    definition = Definition("shop", "Shop", ChassisSettings, (lambda _: one, lambda _: other))
    with pytest.raises(ConfigurationError, match=says):
        definition.built_on(chassis)


def test_a_slice_that_is_listed_twice_is_refused(chassis: Chassis[ChassisSettings]) -> None:
    """It would take each message once, and nobody could say which of the two."""
    twice = replace(SERVICE, slices=SERVICE.slices * 2)
    place = "tests.chassis.slices.sales.slice.sales"
    says = f"'sales', made by {place} and {place}: list each slice once"
    with pytest.raises(ConfigurationError, match=says):
        twice.built_on(chassis)


# feature: http_api {
def made(place: str, prefix: str = "/parcels") -> APIRouter:
    """A router with one route, whose function is in this module."""
    router = APIRouter(prefix=prefix)

    async def show(parcel_id: str) -> None: ...

    show.__module__ = place
    router.get("/{parcel_id}")(show)
    return router


def around(inner: APIRouter) -> APIRouter:
    """A router that has this one inside."""
    outer = APIRouter(prefix="/all")
    outer.include_router(inner)
    return outer


SHARED = made("shop.parcels.api")
TWICE = "'one' and 'other' both answer with shop.parcels.api.made.<locals>.show: a router belongs"
ROUTE = "'one' (shop.parcels.api) and 'other' (shop.returns.api) both have the route GET "
ROUTES = {
    "one route": (made("shop.parcels.api"), made("shop.returns.api"), f"{ROUTE}/parcels/"),
    "one route of routers in routers": (
        around(made("shop.parcels.api")),
        around(made("shop.returns.api")),
        f"{ROUTE}/all/parcels/",
    ),
    "one router": (SHARED, SHARED, TWICE),
    "one router in another one": (SHARED, around(SHARED), TWICE),
}


@pytest.mark.parametrize("name", ROUTES)
def test_what_two_slices_would_both_answer_is_refused(name: str) -> None:
    """The first would answer for both."""
    one, other, says = ROUTES[name]
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        application("Shop", "0", {"one": one, "other": other})


def test_slices_whose_routes_have_prefixes_of_their_own_go_together() -> None:
    """Though their functions have one name, and a module that both use has made them."""
    routers = {each: made("shop.listing", f"/{each}") for each in ("parcels", "returns")}
    served = application("Shop", "0", routers).served
    assert served == {"GET /parcels/{parcel_id}", "GET /returns/{parcel_id}"}


# feature: http_api }
PACKAGE = {
    "__init__": "",
    "parcels.__init__": "",
    "parcels.models": """
from acme_orders.chassis.database.table import Table
class Parcels(Table): ...
""",
    "parcels.repository": """
from acme_orders.chassis.database.repository import Repository
from acme_orders.chassis.database.settings import DatabaseSettings
class ParcelsRepository(Repository): ...
""",
    "parcels.handlers": """
from collections.abc import Sequence
from acme_orders.chassis.messaging.envelope import Payload, Received
class Sent(Payload): ...
async def send(parcel: Sent) -> None: ...
async def send_all(parcels: Sequence[Received[Sent]]) -> None: ...
async def _inner(parcel: Sent) -> None: ...
async def other(number: int) -> None: ...
""",
    # feature: http_api {
    "parcels.api": """
from fastapi import APIRouter
def router(*, manager: object) -> APIRouter: ...
""",
    # feature: http_api }
    "parcels.slice": """
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Slice
def parcels(chassis): return Slice("parcels")
""",
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package with a slice that says nothing of what it has."""
    for name, text in PACKAGE.items():
        file = (tmp_path / "shop" / name.replace(".", "/")).with_suffix(".py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("shop")
    for name in [each for each in sys.modules if each.partition(".")[0] == "shop"]:
        del sys.modules[name]


HANGING = {
    "shop.parcels.repository.ParcelsRepository is a repository": "repositories",
    "shop.parcels.handlers.send is a handler": "handlers",
    "shop.parcels.handlers.send_all is a handler": "handlers",
    "shop.parcels.api.router is a router": "routes",  # feature: http_api
}


def test_what_hangs_from_no_slice_is_found(shop: ModuleType) -> None:
    """Each with the line to add: to the slice, or to the list of slices."""
    found = strays(replace(SERVICE, slices=()), shop)
    unlisted = "of no slice: list the slice of parcels/ in `slices` in service.py"
    assert sorted(found) == sorted(
        f"{each} {unlisted}" for each in [*HANGING, "shop.parcels.models.Parcels is a model"]
    )
    make = importlib.import_module("shop.parcels.slice").parcels
    found = strays(replace(SERVICE, slices=(make,)), shop)
    assert sorted(found) == sorted(
        f"{each} of no slice: name it in `{field}` in parcels/slice.py"
        for each, field in HANGING.items()
    )


# feature: http_api {
def test_a_router_that_no_slice_includes_is_found(shop: ModuleType) -> None:
    """Beside one that it does; what is included by another router is."""
    api = Path(str(shop.__file__)).parent / "parcels" / "api.py"
    api.write_text(
        "from fastapi import APIRouter\n"
        "def router() -> APIRouter:\n    made = APIRouter()\n"
        "    made.include_router(inner())\n    return made\n"
        "def inner() -> APIRouter:\n    return APIRouter()\n"
        "def desk() -> APIRouter:\n    return APIRouter()\n",
        encoding="utf-8",
    )
    routed = importlib.import_module("shop.parcels.api").router

    def make(_: object) -> Slice:
        return Slice("parcels", routes=partial(routed))

    make.__module__ = "shop.parcels.slice"
    found = strays(replace(SERVICE, slices=(make,)), shop)
    routers = [each for each in found if " is a router" in each]
    assert routers == [
        "shop.parcels.api.desk is a router of no slice: name it in `routes` in parcels/slice.py"
    ]


# feature: http_api }
def test_a_handler_in_another_module_that_nobody_calls_is_found(shop: ModuleType) -> None:
    """One that another function calls is a use case, whoever imports the first."""
    folder = Path(str(shop.__file__)).parent / "parcels"
    (folder / "returns.py").write_text(
        "from shop.parcels.handlers import Sent\n"
        "async def forgotten(parcel: Sent) -> None: ...\n"
        "async def called(parcel: Sent) -> None: ...\n"
        "async def caller(number: int) -> None: await called(number)\n",
        encoding="utf-8",
    )
    (folder / "more.py").write_text("from shop.parcels.returns import forgotten\n")
    make = importlib.import_module("shop.parcels.slice").parcels
    found = strays(replace(SERVICE, slices=(make,)), shop)
    (told,) = [each for each in found if "returns" in each]
    assert told.startswith("shop.parcels.returns.forgotten is a handler of no slice: name it in ")


def test_one_table_in_two_slices_is_found(shop: ModuleType) -> None:
    """Each would change what the other one relies on."""
    (folder := Path(str(shop.__file__)).parent / "returns").mkdir()
    (folder / "__init__.py").touch()
    (folder / "models.py").write_text(PACKAGE["parcels.models"], encoding="utf-8")
    found = strays(replace(SERVICE, slices=()), shop)
    (told,) = [each for each in found if "has too" in each]
    assert "shop.returns.models.Parcels is a model of 'parcels', which parcels/ has too" in told


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE parcels (id uuid PRIMARY KEY);",
        'create table if not exists public."parcels" (id uuid);',
        "CREATE TABLE sendings (id uuid);\nALTER TABLE sendings\n    RENAME TO parcels;",
        "CREATE MATERIALIZED VIEW parcels AS SELECT 1 AS id;",
        "CREATE FOREIGN TABLE parcels (id uuid) SERVER elsewhere;",
        "DO $$ BEGIN CREATE TABLE parcels (id uuid); END $$;",
        "DROP TABLE parcels;\nCREATE TABLE parcels (id int);",
    ],
)
def test_a_table_that_migrations_make_is_there(shop: ModuleType, tmp_path: Path, made: str) -> None:
    """However it is written; and it is known which file made it."""
    every = migrated(tmp_path, "CREATE TABLE sacks (id int);", made)
    assert without_table(tables_of(every), shop) == []
    assert tables_of(every)["parcels"] == every[-1].up


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE parcel (parcels int);",
        "-- CREATE TABLE parcels (id int);\nSELECT 1;",
        "COMMENT ON TABLE sacks IS 'CREATE TABLE parcels (id int)';",
        "CREATE TABLE parcels (id int);\nDROP TABLE sacks, public.parcels;",
        "CREATE TABLE parcels (id int);\nALTER TABLE parcels RENAME TO sendings;",
    ],
)
def test_a_model_whose_table_no_migration_makes_is_found(
    shop: ModuleType, tmp_path: Path, made: str
) -> None:
    """With the command that drafts a migration."""
    every = migrated(tmp_path, "CREATE TABLE sacks (id int);", made)
    (told,) = without_table(tables_of(every), shop)
    assert (
        "shop.parcels.models.Parcels is a model of 'parcels', which no file in migrations/" in told
    )
    assert "`acme-orders migrate new add_parcels` drafts one" in told


def test_a_table_that_a_later_migration_drops_is_not_there(tmp_path: Path) -> None:
    """Its name is free again."""
    for kind, made in (("TABLE", "(b int)"), ("VIEW", "AS SELECT 1")):
        drop = f"DROP {kind} IF EXISTS a;"
        assert not tables_of(migrated(tmp_path, f"CREATE {kind} a {made};", drop))


@pytest.mark.parametrize(
    "what", ["INDEX a", "TYPE a", "FUNCTION a()", "SEQUENCE a", "TRIGGER a ON b"]
)
def test_what_else_has_the_name_of_a_table_may_go(tmp_path: Path, what: str) -> None:
    """It may be in another schema, or is named in another list."""
    assert tables_of(migrated(tmp_path, "CREATE TABLE a (b int);", f"DROP {what};"))


def migrated(folder: Path, *ups: str) -> list[Migration]:
    """Migrations that do this."""
    folder = folder / "migrations"
    folder.mkdir(exist_ok=True)
    for number, up in enumerate(ups, 1):
        for end, sql in (("up", up), ("down", "SELECT 1;")):
            (folder / f"{number:04}_change.{end}.sql").write_text(sql, encoding="utf-8")
    return migrations(folder)


def test_what_other_models_are_derived_from_needs_no_table(shop: ModuleType) -> None:
    """Only those that have rows of their own do."""
    models = importlib.import_module("shop.parcels.models")
    vars(models)["Large"] = type("Large", (models.Parcels,), {"__module__": models.__name__})
    told = without_table((), shop)
    assert [each.split()[0] for each in told] == ["shop.parcels.models.Large"]
