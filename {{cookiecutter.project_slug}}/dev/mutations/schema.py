"""What can be taken out of a migration."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import postgast
from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.sql_text import parse

from dev.mutations.models import Rule, check
from dev.mutations.mutant import Edit, Mutant, taken

_KINDS = {
    enums.CONSTR_PRIMARY: "primary key",
    enums.CONSTR_UNIQUE: "unique",
    enums.CONSTR_CHECK: "check",
    enums.CONSTR_FOREIGN: "foreign key",
}
_ADDED = (enums.CONSTR_ATTR_DEFERRABLE, enums.CONSTR_ATTR_DEFERRED)  # parts of the one before
_ALSO = (enums.CONSTR_ATTR_NOT_DEFERRABLE, enums.CONSTR_ATTR_IMMEDIATE)
_SECURITY = (enums.AT_EnableRowSecurity, enums.AT_ForceRowSecurity)  # feature: rls


def in_migration(
    file: Path, text: str, models: Mapping[str, Mapping[Rule, Edit]]
) -> Iterator[Mutant]:
    """Each mutant of an up file, in the tables that have models; the model changes with it."""
    for kind, table, rule, edit in _Script(file, text).parts():
        if table in models:
            other = models[table].get(rule) if rule else None
            yield taken(kind, text, edit, *([other] if other else []))


def without_way_back(file: Path, text: str) -> Iterator[Mutant]:
    """The down file, emptied."""
    if text.strip():
        yield taken("down", text, Edit(file, 0, len(text.encode())))


Found = tuple[str, str, Rule | None, Edit]


class _Script:
    def __init__(self, file: Path, text: str) -> None:
        self._file, self._text, self._data = file, text, text.encode()
        comments = (enums.SQL_COMMENT, enums.C_COMMENT)
        self._tokens = [
            (each.start, each.end, self._data[each.start : each.end])
            for each in postgast.scan(text).tokens
            if each.token not in comments
        ]

    def parts(self) -> Iterator[Found]:
        for raw in parse(self._text):
            match raw.stmt:
                case ast.CreateStmt(relation=ast.RangeVar(relname=table), table_elts=parts):
                    yield from self._of_table(table, parts)
                case ast.IndexStmt(relation=ast.RangeVar(relname=table), index_params=columns):
                    kind = "unique" if raw.stmt.unique else "index"
                    names = [each.name for each in columns if isinstance(each, ast.IndexElem)]
                    yield kind, table, _on(table, kind, names), self._statement(raw)
                case ast.AlterTableStmt(relation=ast.RangeVar(relname=table), cmds=[command]):
                    if found := self._of_change(table, command):
                        yield *found, self._statement(raw)
                # feature: rls {
                case ast.CreatePolicyStmt(table=ast.RangeVar(relname=table)):
                    yield "policy", table, None, self._statement(raw)
                # feature: rls }

    def _of_table(self, table: str, parts: Sequence[Any]) -> Iterator[Found]:
        for part in parts:
            if isinstance(part, ast.Constraint) and part.contype in _KINDS:
                begin, end = self._constraint(part, ())
                kind, rule = self._rule(table, part, (begin, end))
                yield kind, table, rule, self._listed(begin, end)
            elif isinstance(part, ast.ColumnDef):
                constraints: list[Any] = part.constraints or []
                for each in constraints:
                    if each.contype in _KINDS:
                        begin, end = self._constraint(each, constraints)
                        kind, rule = self._rule(table, each, (begin, end), part.colname)
                        yield kind, table, rule, Edit(self._file, begin, end)

    def _of_change(self, table: str, command: Any) -> tuple[str, str, Rule | None] | None:
        if isinstance(command.def_, ast.Constraint) and command.def_.contype in _KINDS:
            place = self._constraint(command.def_, ())
            kind, rule = self._rule(table, command.def_, place)
            return kind, table, rule
        # feature: rls {
        if command.subtype in _SECURITY:
            return "policy", table, None
        # feature: rls }
        return None

    def _rule(
        self, table: str, constraint: Any, place: tuple[int, int], column: str = ""
    ) -> tuple[str, Rule | None]:
        kind = _KINDS[constraint.contype]
        if kind == "check":
            sql = self._data[slice(*place)].decode()
            return kind, check(table, sql[sql.index("(") : sql.rindex(")") + 1])
        names = [column] if column else [each.sval for each in constraint.keys or []]
        return kind, _on(table, kind, names) if kind == "unique" else None

    def _constraint(self, constraint: Any, others: Sequence[Any]) -> tuple[int, int]:
        """From its first word to where the next one begins, or the list goes on."""
        stops = {each.location for each in others if each.contype not in (*_ADDED, *_ALSO)}
        begin, depth, end = constraint.location, 0, constraint.location
        for start, stop, token in self._tokens:
            if start < begin:
                continue
            depth += {b"(": 1, b")": -1}.get(token, 0)
            ends = start > begin and start in stops
            if depth < 0 or (depth == 0 and (token in (b",", b";") or ends)):
                break
            end = stop
        return begin, end

    def _listed(self, begin: int, end: int) -> Edit:
        """With the comma before it, or behind it if it is the first of its table."""
        before = [each for each in self._tokens if each[1] <= begin][-1]
        behind = next(each for each in self._tokens if each[0] >= end)
        if before[2] == b",":
            begin = before[0]
        elif behind[2] == b",":
            end = behind[1]
        return Edit(self._file, begin, end)

    def _statement(self, raw: Any) -> Edit:
        end = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(self._data)
        begin = next(start for start, _, _ in self._tokens if start >= raw.stmt_location)
        return Edit(self._file, begin, end + (self._data[end : end + 1] == b";"))


def _on(table: str, kind: str, names: Sequence[str]) -> Rule:
    names = [each for each in names if each != "tenant_id"]  # feature: row, rls
    return Rule(table, kind, tuple(names))
