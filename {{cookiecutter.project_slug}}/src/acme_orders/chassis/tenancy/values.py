# feature: row, rls
"""What is given to `tenant_id` in SQL."""

from collections.abc import Iterable, Iterator
from typing import Any

from pglast import ast, enums

_SETTING = (["current_setting"], ["pg_catalog", "current_setting"])


def is_constant(value: Any) -> bool:
    """Whether it needs no row: a parameter, a constant, or what the session is set to."""
    match value:
        case ast.ParamRef() | ast.A_Const():
            return True
        case ast.TypeCast():
            return is_constant(value.arg)
        case ast.A_Expr(kind=enums.A_Expr_Kind.AEXPR_NULLIF):
            return is_constant(value.lexpr) and is_constant(value.rexpr)
        case ast.FuncCall():
            names = [each.sval for each in value.funcname or ()]
            return names in _SETTING and all(map(is_constant, value.args or ()))
        case ast.SubLink(subLinkType=enums.SubLinkType.EXPR_SUBLINK):  # (SELECT current_setting(…))
            select: Any = value.subselect
            used = {name for name in select if isinstance(getattr(select, name), ast.Node | tuple)}
            return used == {"targetList"} and all(is_constant(e.val) for e in select.targetList)
    return False


def pins(constants: Iterable[Any]) -> Iterator[int | str]:
    """For each constant the number of its parameter, from 0, or its text; nothing for settings."""
    for value in constants:
        match value:
            case ast.ParamRef(number=int(number)):
                yield number - 1
            case ast.A_Const(val=ast.String(sval=str(text))):
                yield text
            case ast.A_Const():
                yield "no tenant"
            case ast.TypeCast():
                yield from pins([value.arg])
            case ast.A_Expr():
                yield from pins([value.lexpr])
