"""M2, M7, M9: what is wrong with a file as a whole."""

from collections.abc import Iterator

from acme_orders.chassis.database.sql_text import parse
from acme_orders.chassis.migrations.files import text_of
from acme_orders.chassis.migrations.kinds import is_alone, is_neutral
from acme_orders.chassis.migrations.lint.findings import Refusal, Sheet
from acme_orders.chassis.migrations.recipes import Part
from acme_orders.chassis.migrations.statements import Statement
from acme_orders.chassis.migrations.table_locks import ALL


def way_back_is_missing(sheet: Sheet, _: Statement) -> Iterator[Refusal]:
    """`reversible: yes` with a down file that has no statement."""
    if sheet.header.reversible and not parse(text_of(sheet.migration.down)):
        yield Refusal(
            why=f"{sheet.migration.down.name} has no statement, so nothing is taken back.",
            also="Write the way back, or say `-- reversible: no (the reason)`.",
        )


def kinds_are_mixed(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    """A statement that runs alone in one file with others: a failure leaves half of the file."""
    others = [each.node for each in sheet.statements if each is not statement]
    if is_alone(statement.node) and not all(is_alone(each) or is_neutral(each) for each in others):
        up = f"{statement.sql.rstrip(';').rstrip()};"
        yield Refusal(
            why="It runs outside of a transaction, so what stands beside it would be half done.",
            recipe=(Part(up),),
        )


def tables_wait_for_each_other(sheet: Sheet, statement: Statement) -> Iterator[Refusal]:
    """A second table in use under ACCESS EXCLUSIVE in one transaction."""
    if sheet.alone:
        return
    locks = [each for each in sheet.locks(statement.node) if each.mode == ALL]
    views = sheet.known.views
    now = [each for each in locks if sheet.is_used(each.table) and each.table not in views]
    for lock in now:
        if sheet.taken and lock.table not in sheet.taken:
            up = f"{statement.sql.rstrip(';').rstrip()};"
            yield Refusal(
                why=(
                    f"{min(sheet.taken)} stays locked until this one is free too, and whoever has "
                    "them the other way round ends in a deadlock."
                ),
                lock=lock,
                recipe=(Part(up, head=sheet.head),),
            )
            break
    sheet.taken.update(each.table for each in now)
