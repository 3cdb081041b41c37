"""How the runner sends a statement."""

from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.migrations.trees import kind_of, wants

_REINDEXED_INSIDE = {enums.REINDEX_OBJECT_INDEX, enums.REINDEX_OBJECT_TABLE}


def is_alone(node: Any) -> bool:
    """Whether a statement is committed by itself: PostgreSQL refuses it in a transaction, or waits.

    What it waits for, or reads, may take hours, and a transaction would hold its locks for so long.
    """
    match node:
        case ast.VacuumStmt(is_vacuumcmd=True) | ast.AlterSystemStmt():
            return True
        case ast.AlterEnumStmt(old_val="") | ast.AlterDomainStmt(subtype="V"):
            return True
        case ast.ReindexStmt(kind=kind) if kind not in _REINDEXED_INSIDE:
            return True
        case ast.AlterTableStmt(cmds=[ast.AlterTableCmd(subtype=enums.AT_DetachPartitionFinalize)]):
            return True
    return is_concurrent(node) or validates(node)


def is_neutral(node: Any) -> bool:
    """Whether a statement may stand beside those of either kind: SET, RESET and ANALYZE."""
    match node:
        case ast.VariableSetStmt(is_local=False) | ast.VacuumStmt(is_vacuumcmd=False):
            return True
    return False


def is_concurrent(node: Any) -> bool:
    """Whether a statement waits for others without being in anybody's way, for as long as it takes.

    A short lock timeout would only end it, and leave an invalid index behind.
    """
    match node:
        case ast.IndexStmt(concurrent=True) | ast.DropStmt(concurrent=True):
            return True
        case ast.ReindexStmt(params=params):
            return wants(params, "concurrently")
        case ast.AlterTableStmt(cmds=[ast.AlterTableCmd(def_=ast.PartitionCmd(concurrent=True))]):
            return True
    return False


def validates(node: Any) -> bool:
    """Whether it validates a constraint, maybe beside something else."""
    match node:
        case ast.AlterTableStmt(cmds=parts):
            return any(kind_of(each) == "ValidateConstraint" for each in parts)
    return False
