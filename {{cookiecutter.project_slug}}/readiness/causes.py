"""Causes that several checks meet: each is told once, by the check that says how to mend it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from acme_orders.chassis.retention.refusal import NoIndex

from readiness.check import Result
from readiness.keeping import problems_of
from readiness.rehearsal import Rehearsal

_MODELLED, _EXAMPLES, _INDEXED, _RETRIED = "K7", "H2", "K1", "K3"
_TENANTS = "N1"  # feature: row, rls
_ABSENT = re.compile(r"^(\w+): (?:table|column (\w+)) is in the model")
_FAILS = re.compile(r" fails with its example: ((\w+)\((['\"])(.+)\3\))$")
_STOPS = ": the example "
_ANY_TENANT = re.compile(r"^(\S+) \((.+)\) refers to rows of any tenant")  # feature: row, rls


async def told_by_retention(rehearsal: Rehearsal) -> list[NoIndex]:
    """Indexes that are missing, of which R1 tells."""
    found = await problems_of(rehearsal)
    return [reason for _, reason in found if isinstance(reason, NoIndex)]


def is_of(complaint: str, told: Sequence[NoIndex]) -> bool:
    """Whether a complaint about a query is about one of these tables and columns."""
    words = {*re.findall(r"\w+", complaint)}
    return any({each.table, each.columns[-1]} <= words for each in told)


def told_once(results: Sequence[Result]) -> list[Result]:
    """Leave out what follows from something that another check tells better.

    A column that no migration makes is told by K7, and not by each query that names it; whatever
    else K7 finds waits until the others find nothing. A query that fails with its example is told
    by K1 alone. No example leads far where one fails, of a query or, as K3 tells, of a message.
    """
    absent = [at for each in _of(_MODELLED, results) if (at := _ABSENT.match(each))]
    tables = {at[1] for at in absent if not at[2]}
    columns = {at[2] for at in absent if at[2]}

    def is_of_model(finding: str) -> bool:
        words = {*re.findall(r"\w+", finding)}
        return bool(words & tables or ("does not exist" in finding and words & columns))

    others = [each for each in results if each.id != _MODELLED]
    if any(is_of_model(finding) for each in others for finding in each.findings):
        results = _without(results, _MODELLED, is_of_model)
    elif not all(each.passed for each in others):
        waits = "it tells what it has found when the others find nothing"
        results = [_silent(each, waits) if each.id == _MODELLED else each for each in results]
    # feature: row, rls {
    # With its tenant a reference has other columns, and needs another index.
    shared = [at for each in _of(_TENANTS, results) if (at := _ANY_TENANT.match(each))]
    lacking = [f"{at[1]} begins with ({at[2]})," for at in shared]
    results = _without(results, _TENANTS, lambda each: any(index in each for index in lacking))
    # feature: row, rls }
    if any(_STOPS in each for each in _of(_RETRIED, results)):
        why_not = f"{_RETRIED} tells of an example that fails"
        results = [_silent(each, why_not) if each.id == _EXAMPLES else each for each in results]
    errors = [at for each in _of(_INDEXED, results) if (at := _FAILS.search(each))]
    written = [form for at in errors for form in (at[1], f"{at[2]}: {at[4]}")]
    return _without(results, _INDEXED, lambda each: any(form in each for form in written))


def _of(check: str, results: Sequence[Result]) -> list[str]:
    return [finding for each in results if each.id == check for finding in each.findings]


def _without(
    results: Sequence[Result], teller: str, follows: Callable[[str], bool]
) -> list[Result]:
    """Leave out of all but one what follows from what that one says."""
    left = []
    for each in results:
        rest = tuple(finding for finding in each.findings if not follows(finding))
        if each.id == _EXAMPLES and any(map(follows, (f for r in results for f in r.findings))):
            rest = ()
        if each.id == teller or rest == each.findings:
            left.append(each)
        else:
            why_not = f"{teller} tells the cause of what it has found"
            left.append(replace(each, findings=rest) if rest else _silent(each, why_not))
    return left


def _silent(result: Result, why_not: str) -> Result:
    """Unless it has found nothing anyway."""
    return replace(result, findings=(), why_not=why_not) if result.findings else result
