"""A change of the slice `sales`, as somebody might make it, and the service that has it."""

import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from readiness.rehearsal import Subject
from tests.chassis.slices import sales

_QUERY = '    @query("sales.revenue"'
_ROUTE = '    @routes.get("")\n'  # feature: http_api
_HANDLER = "    new = sales.add(sale)\n"
_EXAMPLES = '"examples": [{"sale_id": "0b8f7c0e-0f4f-4e57-9d0c-5f6b1c1f2a3d", **_EXAMPLE}]'
SOLD = '{"sale_id": "0b8f7c0e-0f4f-4e57-9d0c-5f6b1c1f2a3d"}'
_LAST = "class SaleBooked(Payload):\n"
_HELPER = "def _booked(sale: SaleMade) -> SaleBooked:\n"
_ERRORS = "from acme_orders.chassis.errors import Refused, TryLater\n"
_PRIVATE = "    async def _buyers("
_SLICE = "def sales(chassis: Chassis[ChassisSettings]) -> Slice:\n"
_HANDLED = "\n        },\n        publishes="
_CANCELS = (
    f"from {sales.__name__}.handlers import cancel_sale",
    f"from {sales.__name__}.messages import SaleCancelled",
)
_NUMBER = "0950_changed"
KEY = ""  # what every key and index begins with
KEY = "tenant_id, "  # feature: row, rls
HEAD = "-- reversible: yes\n"
HEAD += "-- applies to: each tenant\n"  # feature: schema

Edit = tuple[str, str, str]  # file without its suffix, what stands there, what is written instead


@dataclass(frozen=True)
class Change:
    """What is written, and what the checklist has to say of it.

    Args:
        check: the only one that turns red; empty if the change is fine.
        name: of the change.
        says: part of the finding.
        edits: of files of the slice; a file that is not there is written.
        up: a migration that comes with it; empty for none.
        down: the way back.
    """

    check: str
    name: str
    says: str = ""
    edits: tuple[Edit, ...] = ()
    up: str = ""
    down: str = ""


def asked(
    body: str,
    *,
    traffic: str = "high",
    example: str = "{}",
    given: str = "{}",
    writes: bool = False,
) -> Edit:
    """A query of its own, `sales.asked`, whose body sends this."""
    about = f'"sales.asked", traffic="{traffic}", example={example}, writes={writes}'
    about += f", given={given}"
    names = ", ".join(["self", *re.findall(r'"(\w+)":', example)])
    return method(f"    @query({about})\n    async def asked({names}) -> Any:\n        {body}\n")


def method(text: str) -> Edit:
    """Another method of the repository."""
    return "repository", _QUERY, f"{text}\n{_QUERY}"


def handled(line: str, imports: str = "") -> Edit:
    """A line at the beginning of the handler."""
    return "handlers", _HANDLER, f"    {imports}\n    {line}\n{_HANDLER}"


# feature: http_api {
def route(path: str, takes: str, does: str, *, rare: str = "") -> Edit:
    """Another route, which does this inside a transaction that only reads."""
    about = f', openapi_extra={{"x-rare": "{rare}"}}' if rare else ""
    lines = (
        "    import asyncio",
        "    from datetime import date",
        "    from typing import Literal",
        f'    @routes.get("{path}"{about})',
        f"    async def another({takes}) -> str:",
        '        async with manager.transaction("another", read_only=True):',
        f"            {does}",
        '        return ""',
    )
    return "api", _ROUTE, "\n".join((*lines, "", _ROUTE))


# feature: http_api }


def child_of(parent: str, *, given: str = "{}") -> Edit:
    """A query that stores a line of this sale, unless it is there."""
    row = "{'sale_id': sale_id, 'position': 1, 'sku': 'x', 'quantity': 1, 'unit_price_cents': 1}"
    body = f"return await self.insert_once(Line, {row}, Line.sale, Line.position)"
    return asked(body, example=f'{{"sale_id": {parent}}}', given=given, writes=True)


def another_example(**values: str) -> Edit:
    """A second example, which differs in these from the first."""
    differs = ", ".join(f'"{name}": "{value}"' for name, value in values.items())
    second = f'{{"sale_id": "0b8f7c0e-0f4f-4e57-9d0c-5f6b1c1f2a3e", **_EXAMPLE, {differs}}}'
    return "messages", _EXAMPLES, f"{_EXAMPLES[:-1]}, {second}]"


def cancelled(*early: str) -> tuple[Edit, ...]:
    """A second message, about a sale that the first has made.

    Args:
        early: what its handler does with one of which there is no sale.
    """
    looks = (
        "    if not await sales.by_id(message.sale_id):",
        *(f"        {each}" for each in early),
    )
    handler = (
        "async def cancel_sale(message, *, sales, outbox) -> None:",
        *(looks if early else ()),
        "    await sales.cancel(message.sale_id)",
    )
    message = (
        "class SaleCancelled(Payload):",
        f'    model_config = ConfigDict(json_schema_extra={{"examples": [{SOLD}]}})',
        "    sale_id: UUID",
    )
    update = "Sale.update(status='cancelled').where(Sale.id == sale_id)"
    example = 'example={"sale_id": _EXAMPLE.sale_id}'
    query = (
        f'    @query("sales.cancel", traffic="high", writes=True, {example})',
        "    async def cancel(self, sale_id: UUID) -> Any:",
        f"        return await self.manager.execute({update})",
        "",
    )
    work = "partial(cancel_sale, sales=repository, outbox=chassis.outbox)"
    handles = f',\n            "sale.cancelled": Handler(SaleCancelled, {work})'
    return (
        ("messages", _LAST, "\n".join((*message, "", "", _LAST))),
        ("handlers", _HELPER, "\n".join((_ERRORS, *handler, "", "", _HELPER))),
        ("repository", _PRIVATE, "\n".join((*query, _PRIVATE))),
        ("slice", _SLICE, "\n".join((*_CANCELS, "", "", _SLICE))),
        ("slice", _HANDLED, handles + _HANDLED),
    )


def read_and_written(lock: str) -> tuple[Edit, ...]:
    """A second message that sets one of two columns, and writes the other one as it was read."""
    return _read(lock, "await self.manager.execute(Sale.update(**now).where(Sale.id == sale_id))")


def unless_changed() -> tuple[Edit, ...]:
    """The same, which notes itself, and comes again if the row is no longer as it was read."""
    as_read = "Sale.status == row['status'], Sale.currency == row['currency']"
    return _read(
        "",
        "note = {'id': UUID(int=len(currency)), 'event_type': 'x', 'payload': {}}",
        "await self.insert_once(JournalEntry, note, JournalEntry.id)",
        f"update = Sale.update(**now).where(Sale.id == sale_id, {as_read})",
        "if not await self.manager.execute(update):",
        "    raise Conflict('the sale is another now')",
    )


def _read(lock: str, *writes: str) -> tuple[Edit, ...]:
    body = (
        "from acme_orders.chassis.errors import Conflict",
        "select = Sale.select(Sale.status, Sale.currency).where(Sale.id == sale_id)",
        f"row = await self.fetch_one(select{lock})",
        "now = {**row, 'currency': currency} if currency else {**row, 'status': 'cancelled'}",
        *writes,
    )
    example = '{"sale_id": _EXAMPLE.sale_id, "currency": "USD"}'
    call = "    await sales.asked(sale_id=message.sale_id, currency=message.currency)"
    field = "    sale_id: UUID\n\n\nclass SaleBooked"
    return (
        *cancelled("raise TryLater(f'no sale {message.sale_id} yet')"),
        ("messages", field, field.replace("UUID\n", "UUID\n    currency: str = ''\n", 1)),
        ("messages", f"[{SOLD}]", f'[{SOLD}, {SOLD[:-1]}, "currency": "USD"}}]'),
        ("handlers", "    await sales.cancel(message.sale_id)", call),
        asked("\n        ".join(body), example=example, writes=True),
    )


def counted(*before: str) -> tuple[Edit, ...]:
    """A number that the handler makes of the row before it, with a second message to do so."""
    newest = "Sale.select(Sale.total_cents).order_by(Sale.made_at.desc(), Sale.id.desc()).limit(1)"
    body = (
        *before,
        f"row = await self.fetch_one({newest})",
        "return row['total_cents'] if row else 0",
    )
    number = "{'total_cents': 1 + await sales.asked()}"
    return (
        another_example(buyer_email="eve@example.com"),
        asked("\n        ".join(body)),
        handled(f"sale = sale.model_copy(update={number})"),
    )


def written(change: Change, package: Path) -> None:
    """A copy of the slice in which it was made, in this package."""
    copy = Path(shutil.copytree(Path(sales.__file__).parent, package / "sales"))
    (package / "__init__.py").touch()
    for name, _, new in change.edits:
        if not (copy / f"{name}.py").exists():
            (copy / f"{name}.py").write_text(new, encoding="utf-8")
    for file in copy.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        for name, old, new in change.edits:
            if name == file.stem and old:
                assert text.count(old) == 1, (change.name, old)
                text = text.replace(old, new)
        file.write_text(text.replace(sales.__name__, f"{package.name}.sales"), encoding="utf-8")


@contextmanager
def made(change: Change, subject: Subject, folder: Path) -> Iterator[Subject]:
    """The service with a copy of the slice in which it was made."""
    # Models of an earlier change are still there, under the name of that package.
    package = folder / re.sub(r"\W", "_", folder.name)
    written(change, package)
    migrations = subject.migrations
    if change.up:
        migrations = Path(shutil.copytree(migrations, folder / "migrations"))
        for way, sql in (("up", change.up), ("down", change.down)):
            (migrations / f"{_NUMBER}.{way}.sql").write_text(sql, encoding="utf-8")
    try:
        definition = replace(subject.definition, slices=(_imported(package).sales,))
        yield replace(subject, definition=definition, source=package, migrations=migrations)
    finally:
        for each in [each for each in sys.modules if each.split(".")[0] == package.name]:
            del sys.modules[each]


def _imported(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[folder.name] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module(f"{folder.name}.sales.slice")
