"""Writes a sample: rows of one moment, without anybody's data, and proves the latter."""

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from acme_orders.chassis.backfills.pace import Limits
from acme_orders.chassis.backfills.session import (
    BackfillSession,
    backfill_session,
)
from acme_orders.chassis.database.blocking import Rows
from acme_orders.chassis.erasure.classes import (
    FREE_TEXT,
    NOT_PERSONAL,
    Classes,
    Kinds,
)
from acme_orders.chassis.errors import ConfigurationError, ServiceError
from acme_orders.chassis.migrations.records import SHARED
from acme_orders.chassis.retention.closure import references
from acme_orders.chassis.retention.hidden import READ, hidden
from acme_orders.chassis.retention.places import entered
from acme_orders.chassis.retention.plausible import about
from acme_orders.chassis.retention.target import quoted
from acme_orders.chassis.sample.choice import Choice
from acme_orders.chassis.sample.leaks import Leaks
from acme_orders.chassis.sample.masking import Masking
from acme_orders.chassis.sample.part import Part
from acme_orders.chassis.sample.places import parts
from acme_orders.chassis.sample.progress import Progress
from acme_orders.chassis.sample.pseudonyms import Pseudonyms
from acme_orders.chassis.sample.tables import Sampled, kinds_of, tables_in

_APPLICATION = "acme-orders export-sample"
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_READ_AT_A_TIME = 2000


class LeakError(ServiceError):
    """A value of a classified column stood in the sample, which is deleted."""


@dataclass(frozen=True)
class Sample:
    """What is exported.

    Args:
        url: of the database; it is only read.
        said: of the columns of each table.
        known: what models say, for the lines to write.
        seed: the secret of the pseudonyms.
        whose: rows are taken; empty for those of everybody.
        most: rows of each table, and of each owner; children and parents come with them.
        limits: of a statement.
    """

    url: str
    said: Kinds
    known: Sequence[Classes]
    seed: str = field(repr=False)
    whose: str = ""
    most: int = 100
    limits: Limits = field(default_factory=lambda: Limits(statement=30, lock=2))

    def write(self, file: Path, *, overwrite: bool = False) -> Iterator[Progress]:
        """Write the file; yields each table that is written, and then again and again.

        Raises:
            ConfigurationError: a column is unclassified, a pseudonym does not fit, there are no
                rows, or the file cannot be written.
            LeakError: something was left in it.
        """
        if file.exists() and not overwrite:
            raise ConfigurationError(f"{file} is there already: --overwrite replaces it")
        new = file.with_name(f".{file.name}.new")
        try:
            with backfill_session(self.url, application=_APPLICATION) as session:
                begin = f"{_SNAPSHOT}; {entered(SHARED)}"
                with session.transaction(begin, self.limits, statement=self.limits.statement):
                    yield from self._written(session, new)
            new.replace(file)
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error
        finally:
            new.unlink(missing_ok=True)

    def _written(self, session: BackfillSession, new: Path) -> Iterator[Progress]:
        rows, pseudonyms = session.rows, Pseudonyms(self.seed)
        found = parts(rows, self.whose, self.most)
        by_place = {place: list(tables_in(rows, place)) for place in _places(found)}
        tables = {each.oid: each for some in by_place.values() for each in some}
        _refuse_hidden(rows, tables.values())
        keys = references(rows)
        kinds = kinds_of(rows, list(tables.values()), keys, self.said, self.known)
        choice = Choice(rows, tables, keys, self.most)
        for part in found:
            choice.take(part, by_place[part.place])
        if not any(
            choice.taken[each.oid] for each in tables.values() if each.short in self._of_slices
        ):
            raise ConfigurationError("there are no rows: nothing is written")
        applied = {each for place in by_place for each in _applied(rows, place)}
        with _opened(new) as out:
            head = {"sample": 1, "migrations": sorted(applied)}
            out.write(f"{json.dumps(head)}\n".encode())
            for each in sorted(tables.values(), key=lambda table: table.name):
                masking = Masking(each, kinds[each.oid], pseudonyms)
                yield Progress(each.name, _table(session, each, choice, masking, out))
        leaks = Leaks(pseudonyms.generated)
        with gzip.open(new, "rt", encoding="utf-8") as lines:
            for line in lines:
                leaks.read(line)
        yield from self._searched(session, tables.values(), kinds, leaks)

    @property
    def _of_slices(self) -> set[str]:
        return {each.table for each in self.known}

    @staticmethod
    def _searched(
        session: BackfillSession,
        tables: Iterable[Sampled],
        kinds: Mapping[int, Mapping[str, str]],
        leaks: Leaks,
    ) -> Iterator[Progress]:
        """Look for every value of a classified column of the database in what was written."""
        columns = [
            (table, column, kind)
            for table in tables
            for column, kind in kinds[table.oid].items()
            if kind != NOT_PERSONAL
        ]
        estimate = sum(about(session.rows, table.oid) for table, _, _ in columns)
        compared = 0
        for table, column, kind in columns:
            count = 0
            for some in _streamed(session, table, column):
                for value in some:
                    if place := leaks.find(json.loads(value), free=kind == FREE_TEXT):
                        raise LeakError(
                            f"a value of {table.name}.{column} ({kind}) stands in {place} of the "
                            f"sample, which is deleted: {place.rpartition('.')[2]} is personal or "
                            "free_text too; say it in the Meta of its model"
                        )
                count += len(some)
                compared += len(some)
                yield Progress(f"{table.name}.{column}", count, compared, estimate)
        yield Progress("", 0, compared, compared, completed=True)


@contextmanager
def _opened(file: Path) -> Iterator[gzip.GzipFile]:
    """A compressed file; the same lines are the same bytes."""
    if not file.parent.is_dir():
        raise ConfigurationError(f"there is no folder {file.parent}: make it")
    with (
        os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
    ):
        yield packed


def _table(
    session: BackfillSession,
    table: Sampled,
    choice: Choice,
    masking: Masking,
    out: gzip.GzipFile,
) -> int:
    names, some, count = [json.dumps(each.name) for each in table.columns], list[str](), 0
    for values in choice.values(table):
        cells = (each or "null" for each in masking.row(values))
        row = ", ".join(f"{name}: {cell}" for name, cell in zip(names, cells, strict=True))
        some.append(f"{{{row}}}")
        count += 1
        if len(some) == _READ_AT_A_TIME:
            _put(session, table, some, out)
            some.clear()
    _put(session, table, some, out)
    return count


def _put(session: BackfillSession, table: Sampled, some: Sequence[str], out: gzip.GzipFile) -> None:
    """Write rows that the checks and types of their table allow."""
    if not some:
        return
    counts = ", ".join(
        f"count(*) FILTER (WHERE ({check.replace('%', '%%')}) IS FALSE)"
        for check in table.checks.values()
    )
    broken = session.rows(
        f"SELECT {counts or 'count(*)'} FROM jsonb_populate_recordset(NULL::{table.name}, %s)",
        ("[" + ",".join(some) + "]",),
    )[0]
    for name, count in zip(table.checks, broken, strict=False):
        if count:
            raise ConfigurationError(
                f"{count} rows of {table.name} would break {name} ({table.checks[name]}), because "
                "pseudonyms have the form of what they stand for, and no more: a column with such "
                "values is not_personal, or may be NULL"
            )
    for row in some:
        out.write(f'{{"table": {json.dumps(table.name)}, "row": {row}}}\n'.encode())


def _places(found: Sequence[Part]) -> list[str]:
    return list(dict.fromkeys((SHARED, *(part.place for part in found))))


def _applied(rows: Rows, place: str) -> list[str]:
    return [id_ for (id_,) in rows(f"SELECT id FROM {place}.schema_migrations WHERE status = 'ok'")]


def _refuse_hidden(rows: Rows, tables: Iterable[Sampled]) -> None:
    for table in tables:
        for unseen in hidden(rows, table.oid, table.name, READ):
            raise ConfigurationError(unseen)


def _streamed(session: BackfillSession, table: Sampled, column: str) -> Iterator[list[str]]:
    """All values of a column, as JSON, a few at a time."""
    name = quoted(column)
    session.rows(
        "DECLARE originals NO SCROLL CURSOR FOR "  # lint: D7 (its session is of this command)
        f"SELECT to_jsonb({name})::text "
        f"FROM {table.name} WHERE {name} IS NOT NULL"
    )
    while some := session.rows(f"FETCH {_READ_AT_A_TIME} FROM originals"):
        yield [value for (value,) in some]
    session.rows("CLOSE originals")
