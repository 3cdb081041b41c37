"""Names in the SQL that makes tables."""

import pytest

from acme_orders.chassis.migrations.ddl import quoted


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("weight", "weight"),
        ("name", "name"),  # keywords, but good for a column
        ("values", "values"),
        ("order", '"order"'),
        ("left", '"left"'),  # good for a function only
        ("Weight", '"Weight"'),
        ("größe", '"größe"'),
        ("a b", '"a b"'),
        ('a"b', '"a""b"'),
    ],
)
def test_a_name_is_quoted_where_postgresql_needs_it(name: str, sql: str) -> None:
    """As `format('%I')` does, but for keywords that cannot be misread."""
    assert quoted(name) == sql
