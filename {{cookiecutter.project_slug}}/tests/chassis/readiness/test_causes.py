"""One cause is told once."""

from readiness.causes import told_once
from readiness.check import Result

ERROR = "DatabaseError('column t1.note does not exist')"
COLUMN = "sales: column note is in the model, not in the database: integer"
INDEX = "sales: index btree (made_at) is in the model, not in the database"


def told(**findings: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """What is left of these findings, where any are."""
    results = [Result(name, "", "", 1, found) for name, found in findings.items()]
    left = {each.id: each for each in told_once(results)}
    silent = {name for name, each in left.items() if each.why_not}
    assert silent == {name for name, found in findings.items() if found and not left[name].findings}
    return {name: each.findings for name, each in left.items() if each.findings}


def test_a_column_that_is_missing_is_told_by_k7() -> None:
    """Not by all that need it, nor by the examples that stop there."""
    found = told(
        K1=(f"sales.asked fails with its example: {ERROR}",),
        K3=("sale.made: DatabaseError: column t1.note does not exist",),
        H2=("examples reach 1 of 9 statements",),
        K7=(COLUMN,),
        R1=("parcels has no policy",),
    )
    assert found == {"K7": (COLUMN,), "R1": ("parcels has no policy",)}


def test_who_says_nothing_tells_no_cause() -> None:
    """Of what K7 tells, K1 is silent: what is left stays with the check that has found it."""
    fails = "sales.page fails with its example: KeyError('x')"
    found = told(
        K1=(fails,),
        K4=("another ends with KeyError('x')",),
        K7=("sales: table is in the model, not in the database",),
    )
    assert found.keys() == {"K4", "K7"}


def test_k7_waits_for_the_others() -> None:
    """They say what an index or a key is missing for."""
    assert told(Q1=("sales is read as a whole",), K7=(INDEX,)) == {
        "Q1": ("sales is read as a whole",)
    }
    assert told(Q1=(), K7=(INDEX,)) == {"K7": (INDEX,)}


def test_an_example_that_fails_is_told_by_k1() -> None:
    """Another error of the same check stays, and so does one that nobody else tells."""
    error = "QueryRefused('sales.page has no limit')"
    fails = f"sales.page fails with its example: {error}"
    rare = "sales.rare shows nothing: its example ends with KeyError('x')"
    other = "a failing statement does not move y"
    moves = f"sales.page does not move x; its example ends with {error}"
    found = told(K1=(fails,), K4=(moves, other), N1=(rare,))
    assert found == {"K1": (fails,), "K4": (other,), "N1": (rare,)}


def test_an_example_that_a_handler_refuses_is_told_by_k3() -> None:
    """What its handler does after that is reached by no example."""
    stops = "sale.made: the example is retried later or becomes a dead letter: Refused: no"
    again = "sale.made: the same content under another id changes outbox"
    reach = "examples reach 1 of 3 statements of make_sale()"
    assert told(K3=(stops,), H2=(reach,)) == {"K3": (stops,)}
    assert told(K3=(again,), H2=(reach,)) == {"K3": (again,), "H2": (reach,)}


# feature: row, rls {
def test_a_reference_without_its_tenant_needs_no_index() -> None:
    """With it, another one serves; an index that another reference lacks is still told."""
    shared = "sale_lines (sale_id) refers to rows of any tenant, by sale_lines_sale_id_fkey"
    own = "sales: no index of public.sale_lines begins with (sale_id), so each row"
    other = "no index of sale_lines begins with (sale_id, sku), which refer to sales"
    found = told(K1=(other,), R1=(own,), N1=(shared,))
    assert found == {"K1": (other,), "N1": (shared,)}


# feature: row, rls }
