"""K7: what models say of tables, and what migrations have made."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from acme_orders import chassis
from acme_orders.chassis.database.table import Table, models_in
from acme_orders.chassis.erasure.classes import models_beside
from acme_orders.chassis.migrations.drift import Drift, ModelRefused, drift

from readiness.check import Check
from readiness.rehearsal import Rehearsal
from readiness.scratch import session


class TablesAreAsModelled(Check):
    """Tables have what their models say."""

    id = "K7"

    async def inspect(self, rehearsal: Rehearsal) -> AsyncGenerator[str, None]:
        """Let `migrate new NAME` draft the migration that is missing, or correct the model.

        Code relies on what a model says: a unique key that is not there lets the second row in.
        """
        slices = rehearsal.service.slices
        ours = models_beside(each for one in slices for each in one.repositories)
        models = [*ours, *models_in(chassis.__name__)]
        self.inspected = len(models)
        for finding in await asyncio.to_thread(_missing, rehearsal.url, models):
            yield finding


def _missing(url: str, models: Sequence[type[Table]]) -> list[str]:
    """Not what only the database has: one more index is no reason to stop a release."""
    with session(url) as cursor:
        try:
            found = drift(cursor, models)
        except ModelRefused as error:
            return [str(error)]
    return [str(each) for each in found if each.model is not None if not _is_served(each, found)]


def _is_served(each: Drift, found: Sequence[Drift]) -> bool:
    """Whether another index of the database begins with the same columns as this one."""
    return each.kind == "index" and any(
        other.table == each.table
        and other.model is None
        and other.what.startswith((each.what, f"{each.what[:-1]},"))
        for other in found
    )
