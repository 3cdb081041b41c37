"""Rows that row-level security hides from us, who would take them for gone."""

from collections.abc import Iterator

from acme_orders.chassis.database.blocking import Rows

READ, WRITE, DELETE, ADD = "rwda"  # as in pg_policy; a row is also locked by the right to write

# One line for each need that no policy meets, or that a restrictive one narrows.
_HIDDEN = """
WITH ours AS (
    SELECT need, polname::text AS name, polpermissive AS permits, pg_get_expr(
        CASE need WHEN 'a' THEN coalesce(polwithcheck, polqual) ELSE polqual END, polrelid) AS seen
    FROM unnest(%s::text[]) AS need LEFT JOIN pg_policy
        ON polrelid = %s AND polcmd::text IN ('*', need) AND EXISTS (
            SELECT FROM unnest(polroles) AS role WHERE role = 0 OR pg_has_role(role, 'USAGE'))
)
SELECT current_user::text, string_agg(name, ', ') FILTER (WHERE NOT permits AND seen <> 'true')
FROM ours WHERE row_security_active(%s) GROUP BY need
HAVING bool_or(permits AND seen = 'true') IS NOT true OR bool_or(NOT permits AND seen <> 'true')
"""


def hidden(rows: Rows, oid: int, table: str, *needs: str) -> Iterator[str]:
    """Why not all rows of a table can be had; nothing if they can.

    Args:
        rows: runs SQL in the open transaction, as whoever needs them.
        oid: of the table.
        table: the same, as SQL writes it.
        needs: some of READ, WRITE, DELETE and ADD.
    """
    for role, policies in dict.fromkeys(map(tuple, rows(_HIDDEN, (list(needs), oid, oid)))):
        if policies:
            yield (
                f"row-level security hides rows of {table} from {role} by what is restrictive: "
                f"let {policies} be TO other roles"
            )
        else:
            yield (
                f"row-level security hides rows of {table} from {role}: CREATE POLICY system "
                f"ON {table} TO {role} USING (true)"
            )
