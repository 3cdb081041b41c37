"""How the runner sends a statement."""

from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.migrations.trees import kind_of, wants


def is_alone(node: Any) -> bool:
    """Whether a statement is sent by itself: PostgreSQL refuses it in a transaction, or waits."""
    match node:
        case ast.IndexStmt(concurrent=True) | ast.DropStmt(concurrent=True) | ast.VacuumStmt():
            return True
        case ast.AlterEnumStmt(old_val="") | ast.AlterDomainStmt(subtype="V"):
            return True
        case ast.ReindexStmt(params=params):
            return wants(params, "concurrently")
        case ast.AlterTableStmt(cmds=parts):
            return any(_part_is_alone(each) for each in parts)
    return False


def _part_is_alone(part: Any) -> bool:
    concurrently = part.subtype == enums.AT_DetachPartition and part.def_.concurrent
    return kind_of(part) == "ValidateConstraint" or concurrently
