"""Rule D12: what names a series of a metric is known before it runs."""

import ast
from itertools import chain

from dev.lint.built import calls_in_scope
from dev.lint.reading import imports, last_name
from dev.lint.source import CHASSIS, Found, Source

_NAMED = {"named", "query", "transaction"}
_MANAGERS = {"_manager", "manager"}  # others have a run of their own


def unbounded_labels(source: Source, tree: ast.Module) -> Found:
    """With an id in a name Prometheus gets a new series for each, until its memory is full.

    Name what is done and write the id to the log; the metrics are in chassis/observability.
    """
    if source.parts[0] in CHASSIS:  # it puts names of tables into them, of which there are a few
        return
    for call, scope in calls_in_scope(tree, {*_NAMED, "run"}):
        what, on = last_name(call.func), getattr(call.func, "value", call)
        named = (each.value for each in call.keywords if each.arg == "name")
        name = next(chain(call.args, named), None)
        if scope.built(name) and (what in _NAMED or last_name(on) in _MANAGERS):
            yield call, f"the name for {what}() is put together from values"
    for node, imported in imports(tree):
        if imported.partition(".")[0] == "prometheus_client":
            yield node, f"imports {imported}"
