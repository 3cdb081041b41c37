# feature: row, rls
"""What is given to `tenant_id` in SQL."""

from collections.abc import Iterable, Iterator
from typing import Any

from postgast import nodes as ast
from postgast import pg_query_pb2 as enums

from acme_orders.chassis.database.sql_text import children

_SETTING = (["current_setting"], ["pg_catalog", "current_setting"])


def is_constant(value: Any) -> bool:
    """Whether it needs no row: a parameter, a constant, or what the session is set to."""
    match value:
        case ast.ParamRef() | ast.A_Const():
            return True
        case ast.TypeCast():
            return is_constant(value.arg)
        case ast.A_Expr(kind=enums.AEXPR_NULLIF):
            return is_constant(value.lexpr) and is_constant(value.rexpr)
        case ast.FuncCall():
            names = [each.sval for each in value.funcname if isinstance(each, ast.String)]
            return names in _SETTING and all(map(is_constant, value.args))
        case ast.SubLink(sub_link_type=enums.EXPR_SUBLINK):  # (SELECT current_setting(…))
            match list(children(value.subselect)):
                case [ast.ResTarget(val=only)]:
                    return is_constant(only)
    return False


def pins(constants: Iterable[Any]) -> Iterator[int | str]:
    """For each constant the number of its parameter, from 0, or its text; nothing for settings."""
    for value in constants:
        match value:
            case ast.ParamRef(number=number):
                yield number - 1
            case ast.A_Const(val=ast.String(sval=text)):
                yield text
            case ast.A_Const():
                yield "no tenant"
            case ast.TypeCast():
                yield from pins([value.arg])
            case ast.A_Expr():
                yield from pins([value.lexpr])
