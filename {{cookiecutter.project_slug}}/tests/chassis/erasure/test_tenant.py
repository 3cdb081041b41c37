# feature: row, rls, schema
"""A tenant is erased as a whole, and what belongs to others is as it was."""

from functools import partial
from uuid import UUID, uuid4

import pytest

from acme_orders.chassis.erasure.requests import Request
from acme_orders.chassis.erasure.tenancy import is_of_all
from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.process.service import Service
from acme_orders.chassis.tenancy.registry import Tenants

from readiness.scratch import rows_of
from tests.chassis.conftest import (
    Connect,
    apply_migrations,  # feature: schema
)
from tests.chassis.erasure.people import NAME, OTHERS, People, killed_after_a_portion
from tests.conftest import add_tenant

OTHER = UUID("00000000-0000-0000-0000-00000000000b")
WHOSE = str(OTHER)
EVIDENCE = ("erasure_request", "legal_hold")
CHILD = """
import sys
from dataclasses import replace
from acme_orders.chassis.erasure.eraser import LIMITS, Eraser
limits = replace(LIMITS, first=1, largest=1, share=0.05)
eraser = Eraser(sys.argv[1], [], {}, limits=limits)
eraser.carry_out(eraser.named(sys.argv[2]))
"""


class Tenant(People):
    """One with a buyer, a sale, and what the chassis keeps of such; another one has the same.

    Args:
        service: that both use.
        copies: of what the chassis keeps.
    """

    def __init__(self, service: Service, *, copies: int = 1) -> None:
        super().__init__(service)
        self.known(NAME)
        self.scatter(f"about {OTHERS[0]}")
        self.others = self.dump()
        self.register()
        self.known(NAME)
        for number in range(copies):
            self.scatter(f"{NAME} of {WHOSE}", number=number)

    def register(self) -> None:
        """Make the tenant."""
        add_tenant(self.url, OTHER)
        apply_migrations(self.url)  # feature: schema
        self.whose = WHOSE

    def ask(self) -> str:
        """Enter the request."""
        with self.eraser.requests(WHOSE) as requests:
            return requests.receive(WHOSE, actor="test", days=30)

    def go(self) -> Request:
        """Carry it out, for the first time or again."""
        return self.eraser.carry_out(self.eraser.named(self.ask()))

    def left(self) -> str:
        """All that a dump has, but for the evidence."""
        return "\n".join(self.dump(*EVIDENCE)).lower()

    def check_gone(self) -> None:
        """Nothing is left of this tenant, and all of the other one."""
        assert self.others <= self.dump()
        left = self.left()
        assert WHOSE not in left
        assert OTHER.hex not in left
        assert left.count("hara") == 1  # somebody of the other tenant, with the same email
        assert not self.is_registered()

    def is_registered(self) -> bool:
        """Whether it has its line."""
        return bool(rows_of(self.url, "SELECT 1 FROM tenants WHERE id = %s", (WHOSE,)))


async def test_all_that_a_tenant_has_goes(connect: Connect) -> None:
    """From each table, with the line of the registry; the request has counts, and no name."""
    async with connect() as service:
        tenant = Tenant(service, copies=3)
        with tenant.eraser.requests(WHOSE) as requests:
            person = requests.receive(NAME, actor="test", days=30)
        ended = tenant.go()
        assert (ended.state, ended.error) == ("verified", None)
        rows = {name.rpartition(".")[2]: count for name, count in ended.evidence.items()}
        told = {"buyers": 1, "sales": 1, "journal": 3, "inbox": 3, "outbox": 3, "dead_letters": 9}
        assert told.items() <= rows.items()
        assert is_of_all(ended)
        assert f"tenant {OTHER}" not in str(ended)
        assert tenant.eraser.named(person).state == "verified"
        tenant.check_gone()
        with pytest.raises(ConfigurationError, match="there is no tenant"):
            tenant.ask()


async def test_a_tenant_that_nobody_knows(connect: Connect) -> None:
    """Whoever asks for it, or for one of its people, is told."""
    async with connect() as service:
        people = People(service)
        known = Tenants(people.url)
        assert known.named("test") == known.named(people.whose.upper()) == UUID(people.whose)
        with pytest.raises(ConfigurationError, match="no tenant 'nobody': `tenants list`"):
            known.named("nobody")
        unknown = str(uuid4())
        with (
            pytest.raises(ConfigurationError, match=unknown),
            people.eraser.requests(unknown) as requests,
        ):
            requests.receive(NAME, actor="test", days=30)


async def test_killed_in_the_middle_it_goes_on(connect: Connect) -> None:
    """Again and again; until the end the tenant is registered, so that it is found again."""
    async with connect() as service:
        tenant = Tenant(service, copies=25)
        identity = tenant.ask()
        for _ in range(3):
            await killed_after_a_portion(
                CHILD, tenant.url, identity, partial(tenant.done, identity)
            )
            assert tenant.is_registered()
        ended = tenant.go()
        assert ended.state == "verified", ended.error
        rows = {name.rpartition(".")[2]: count for name, count in ended.evidence.items()}
        told = {"buyers": 1, "journal": 25, "inbox": 25, "outbox": 25, "dead_letters": 75}
        assert told.items() <= rows.items()
        tenant.check_gone()


@pytest.mark.parametrize("subject", [NAME, WHOSE])
async def test_a_legal_hold_keeps_the_tenant(connect: Connect, subject: str) -> None:
    """One of a person in it, or one of all of it, which holds each person as well."""
    async with connect() as service:
        tenant = Tenant(service)
        with tenant.eraser.requests(WHOSE) as requests:
            requests.hold(subject, actor="Legal", reason="a lawsuit")
            person = requests.receive(NAME, actor="test", days=30)
        before = tenant.left()
        held = tenant.go()
        assert held.state == "held"
        assert "by Legal: a lawsuit" in str(held.error)
        assert tenant.eraser.carry_out(tenant.eraser.named(person), (NAME,)).state == "held"
        assert tenant.left() == before
        with tenant.eraser.requests(WHOSE) as requests:
            assert requests.release(subject) == 1
        assert tenant.eraser.named(held.id).state == "received"
        assert tenant.go().state == "verified"
        tenant.check_gone()


async def test_after_a_restore_the_tenant_goes_again(connect: Connect) -> None:
    """The list has its id alone, which is enough; what never came back is verified as well."""
    async with connect() as service:
        tenant = Tenant(service)
        kept = tenant.go()
        for _ in range(2):
            rows_of(tenant.url, "DELETE FROM erasure_request")
            with tenant.eraser.requests() as requests:
                assert requests.restored(kept)
            assert tenant.eraser.carry_out(tenant.eraser.named(kept.id)).state == "verified"
            tenant.check_gone()
            tenant.register()
            tenant.scatter(f"{NAME} of {WHOSE}")


async def test_its_name_is_told_where_it_may_mean_somebody_else(connect: Connect) -> None:
    """Others may use the same word: nothing there is changed, and the answer names the places."""
    async with connect() as service:
        tenant = Tenant(service)
        rows_of(tenant.url, "UPDATE tenants SET name = 'Sun & Sons' WHERE id = %s", (WHOSE,))
        rows_of(tenant.url, "CREATE TABLE public.notes (id integer PRIMARY KEY, note text)")
        for number, note in enumerate(["Call SUN &amp; Sons.", '{"of": "sun+%26+sons"}', "sunday"]):
            rows_of(tenant.url, "INSERT INTO public.notes VALUES (%s, %s)", (number, note))
        with tenant.eraser.requests(WHOSE) as requests:
            requests.hold(NAME, actor="Legal", reason="Sun & Sons asked for it")
            requests.release(NAME)
        ended = tenant.go()
        assert ended.state == "verified"
        assert "public.notes.note (2)" in str(ended.error)
        assert "public.legal_hold.reason (1)" in str(ended.error)
        assert "look there" in str(ended.error)
        assert "sons" not in str(ended).lower()
        assert rows_of(tenant.url, "SELECT count(note) FROM public.notes") == [(3,)]
        tenant.check_gone()


async def test_a_name_that_is_too_short_to_be_found(connect: Connect) -> None:
    """The answer says that nobody has looked."""
    async with connect() as service:
        tenant = Tenant(service)
        rows_of(tenant.url, "UPDATE tenants SET name = 'Sun' WHERE id = %s", (WHOSE,))
        ended = tenant.go()
        assert ended.state == "verified"
        assert "fewer than 5 characters, and was not looked for" in str(ended.error)


async def test_what_stands_in_the_way_is_told(connect: Connect) -> None:
    """Nothing that tenants share is changed for it; the tenant stays until that is mended."""
    async with connect() as service:
        tenant = Tenant(service)
        rows_of(tenant.url, "CREATE TABLE public.notes (id integer PRIMARY KEY, note text)")
        rows_of(tenant.url, "INSERT INTO public.notes VALUES (1, %s)", (f"see {WHOSE}",))
        failed = tenant.go()
        assert failed.state == "failed"
        assert "public.notes.note (1)" in str(failed.error)
        assert tenant.is_registered()
        rows_of(tenant.url, "UPDATE public.notes SET note = NULL")
        stray, mended, says = STRAY
        rows_of(tenant.url, stray)
        failed = tenant.go()
        assert failed.state == "failed"
        assert says in str(failed.error)
        assert tenant.is_registered()
        rows_of(tenant.url, mended)
        assert tenant.go().state == "verified"
        tenant.check_gone()


# feature: schema {
STRAY = (
    f"CREATE VIEW public.emails AS SELECT email FROM tenant_{OTHER.hex}.buyers",
    "DROP VIEW public.emails",
    "public.emails (1)",
)
# feature: schema }
# feature: row, rls {
STRAY = (
    """CREATE TABLE public.stray (
        whose uuid, buyer uuid, FOREIGN KEY (whose, buyer) REFERENCES public.buyers (tenant_id, id)
    )""",
    "DROP TABLE public.stray",
    "public.stray refers to public.buyers (stray_whose_buyer_fkey), and has no tenant_id",
)


async def test_rows_that_refer_to_each_other(connect: Connect) -> None:
    """A tree in one table; a circle of two tables is refused, with what helps."""
    async with connect() as service:
        tenant = Tenant(service)
        rows_of(tenant.url, TREE)
        rows_of(tenant.url, FILLED, (WHOSE,))
        ended = tenant.go()
        assert ended.state == "failed"
        assert "public.leaf, public.tree" in str(ended.error)
        assert "ON DELETE SET NULL" in str(ended.error)
        rows_of(tenant.url, "ALTER TABLE tree DROP CONSTRAINT tree_leaf")
        ended = tenant.go()
        assert (ended.state, ended.error) == ("verified", None)
        assert ended.evidence["public.tree"] == 31
        tenant.check_gone()


TREE = """
CREATE TABLE public.tree (
    tenant_id uuid, id integer, above integer, leaf integer, PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, above) REFERENCES public.tree (tenant_id, id)
);
CREATE INDEX ON public.tree (tenant_id, above);
CREATE INDEX ON public.tree (tenant_id, leaf);
CREATE TABLE public.leaf (
    tenant_id uuid, id integer, tree integer, PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, tree) REFERENCES public.tree (tenant_id, id)
);
CREATE INDEX ON public.leaf (tenant_id, tree);
ALTER TABLE public.tree ADD CONSTRAINT tree_leaf
    FOREIGN KEY (tenant_id, leaf) REFERENCES public.leaf (tenant_id, id);
"""
FILLED = """
INSERT INTO public.tree (tenant_id, id, above)
SELECT %s, id, NULLIF(id / 2, 0) FROM generate_series(1, 31) AS id
"""
# feature: row, rls }
