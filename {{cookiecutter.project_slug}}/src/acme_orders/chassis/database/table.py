"""The base of every model. Models never leave their repository."""

from collections.abc import (
    Iterable,  # feature: row, rls
    Iterator,
    Mapping,  # feature: row, rls
)
from typing import (
    TYPE_CHECKING,
    Any,  # feature: row, rls
    Self,  # feature: row, rls
)

import peewee  # feature: row, rls
from playhouse.postgres_ext import HStoreField

from acme_orders.chassis.database.dialect import Dialect
from acme_orders.chassis.database.values import read_hstore
from acme_orders.chassis.tenancy.joins import PinnedSelect  # feature: row, rls
from acme_orders.chassis.tenancy.scope import current_scope  # feature: row, rls

if TYPE_CHECKING:
    from peewee import Model as AioModel
else:
    from peewee_async import AioModel


class Table(AioModel):
    """A table; what it has to guarantee is written in `migrations/`."""

    class Meta:
        """What compiles its queries."""

        database = Dialect()

    @classmethod
    def validate_model(cls) -> None:
        """Let fields read what drivers leave as a text."""
        for field in cls._meta.sorted_fields:
            if isinstance(field, HStoreField):
                field.python_value = read_hstore

    # feature: row, rls {
    # Every query is pinned to the tenant whose scope is open; in the system scope to none.

    tenant_id = peewee.UUIDField()

    @classmethod
    def select(cls, *fields: Any) -> "peewee.ModelSelect[Self]":
        """Read rows of this tenant."""
        named = fields or cls._meta.sorted_fields
        select = PinnedSelect(cls, named, is_default=not fields)
        pinned: peewee.ModelSelect[Self] = cls._pinned(select)
        return pinned

    @classmethod
    def update(cls, *args: Any, **values: Any) -> Any:
        """Change rows of this tenant."""
        return cls._pinned(super().update(*args, **values))

    @classmethod
    def delete(cls) -> Any:
        """Delete rows of this tenant."""
        return cls._pinned(super().delete())

    @classmethod
    def insert(cls, row: Mapping[str, Any] | None = None, /, **values: Any) -> Any:
        """Add a row of this tenant."""
        return cls.insert_many([{**(row or {}), **values}])

    @classmethod
    def insert_many(cls, rows: Iterable[Mapping[str, Any]], fields: None = None) -> Any:
        """Add rows of this tenant; each names its columns."""
        tenant = current_scope().tenant
        owned = {} if tenant is None else {"tenant_id": tenant}
        return super().insert_many([{**row, **owned} for row in rows], fields)

    @classmethod
    def _pinned(cls, query: Any) -> Any:
        tenant = current_scope().tenant
        return query if tenant is None else query.where(cls.tenant_id == tenant)

    # feature: row, rls }


def models_in(package: str, base: type[Table] = Table) -> Iterator[type[Table]]:
    """Those that modules of a package have, as far as they have been imported."""
    for model in base.__subclasses__():
        if model.__module__.startswith(f"{package}."):
            yield model
        yield from models_in(package, model)
