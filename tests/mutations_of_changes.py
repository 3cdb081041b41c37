"""The same of the lint of migrations, drafts, contracts, made-up rows and schemas of tenants."""

from collections.abc import Mapping

from tests.mutations_of_backfills import PLACE
from tests.mutations_of_migrations import SCHEMA, Mutation

CHANGES: Mapping[str, Mutation] = {
    "a number that loses digits": (
        f"{SCHEMA}/type_changes.py",
        "(scale == same and before <= more)",
        "(before <= more)",
        "schema/test_type_changes.py::test_what_is_written_anew_is_what_we_say",
    ),
    "a text that does not fit": (
        f"{SCHEMA}/type_changes.py",
        "    if names <= _TEXTS:\n        return one.limit > other.limit\n",
        "    if names <= _TEXTS:\n        return False\n",
        "schema/test_type_changes.py::test_what_does_not_fit_is_what_we_say",
    ),
    "an index that blocks is drafted": (
        f"{SCHEMA}/recipes.py",
        "changed(node, idxname=name, concurrent=True, if_not_exists=False)",
        "changed(node, idxname=name, concurrent=False, if_not_exists=False)",
        "schema/test_recipes.py::test_the_recipe_passes_and_runs[an index]",
    ),
    "NOT NULL is drafted without a proof": (
        f"{SCHEMA}/recipes.py",
        "        *validated(table, name, definition, gate.head),\n        Part(\n",
        "        validated(table, name, definition, gate.head)[0],\n        Part(\n",
        "schema/test_recipes.py::test_the_recipe_passes_and_runs[NOT NULL]",
    ),
    "a reference is drafted that reads all rows": (
        f"{SCHEMA}/recipes.py",
        "ADD CONSTRAINT {name} {definition} NOT VALID;",
        "ADD CONSTRAINT {name} {definition};",
        "schema/test_recipes.py::test_the_recipe_passes_and_runs[a foreign key]",
    ),
    "a type is drafted that writes all rows": (
        f"{SCHEMA}/replacements.py",
        '    add = f"ALTER TABLE {table} ADD COLUMN {name} {type_};"\n',
        '    add = f"ALTER TABLE {table} ALTER COLUMN {quoted(old)} TYPE {type_};"\n',
        "schema/test_recipes.py::test_the_recipe_passes_and_runs[a wider integer]",
    ),
    "what is safe is refused": (
        f"{SCHEMA}/lint/blocking.py",
        "case ast.IndexStmt(concurrent=False, relation=relation):",
        "case ast.IndexStmt(relation=relation):",
        "schema/test_lint.py::test_a_safe_statement_passes[an index]",
    ),
    "a release before that nobody asks": (
        "readiness/contracts/check.py",
        "        if release:\n",
        "        if release and not release.contracts:\n",
        "readiness/test_contracts.py::test_a_change_that_breaks_the_last_release_is_found",
    ),
    "rows that come back with other values": (
        "readiness/digest.py",
        "if now.columns.get(name) != sum_]",
        "if name not in now.columns]",
        "readiness/test_stairway.py::test_rows_are_harmed",
    ),
    "a plan without its locks": (
        f"{SCHEMA}/planned.py",
        'textwrap.wrap(f"{lock}{new}", _WIDTH',
        'textwrap.wrap("", _WIDTH',
        "schema/test_new.py::test_a_plan_shows_locks_and_what_has_to_be_done_before",
    ),
    "a waiver needs no reason": (
        f"{SCHEMA}/lint/linter.py",
        "if not waivers.get(rule):",
        "if rule not in waivers:",
        "schema/test_lint.py::test_a_waiver_without_a_reason_waives_nothing",
    ),
    "a table that is new is not free": (
        f"{SCHEMA}/lint/findings.py",
        "return table not in self.known.new and table not in self.header.small",
        "return table not in self.header.small",
        "schema/test_lint.py::test_a_safe_statement_passes",
    ),
    "a table that is small is not free": (
        f"{SCHEMA}/lint/findings.py",
        "return table not in self.known.new and table not in self.header.small",
        "return table not in self.known.new",
        "schema/test_lint.py::test_a_small_table_is_free",
    ),
    "squawk is not asked": (
        f"{SCHEMA}/lint/linter.py",
        "in ask(up, sheet.migration.text, transaction=not sheet.alone):",
        "in ():",
        "schema/test_lint.py::test_an_unsafe_statement_is_refused[a padded text]",
    ),
    "contracts without a file and files without a contract": (
        "readiness/contracts/folder.py",
        "        for file in sorted(kept.keys() | sent.keys()):\n",
        "        for file in sorted(kept.keys() & sent.keys()):\n",
        "readiness/test_contracts.py::test_a_file_that_does_not_fit_is_found",
    ),
    "stale contracts": (
        "readiness/contracts/folder.py",
        "        for file in sorted(kept.keys() | sent.keys()):\n",
        "        for file in sorted(kept.keys() ^ sent.keys()):\n",
        "readiness/test_contracts.py::test_a_file_that_does_not_fit_is_found",
    ),
    "a type that gets narrower": (
        "readiness/contracts/upgrade.py",
        "found = {**changed_types(types, after, contracts), **found}",
        "found = {**found}",
        "readiness/test_contracts.py::test_a_change_that_breaks_the_last_release_is_found",
    ),
    "the next code on the schema before": (
        "readiness/contracts/upgrade.py",
        "found = await failures(old.service.manager, self.current)",
        "found = await failures(old.service.manager, [])",
        "readiness/test_contracts.py::test_code_that_needs_a_contract_of_its_own_release_is_found",
    ),
    "a released file that was edited": (
        "readiness/contracts/upgrade.py",
        "elif not known[id_].has(checksum):",
        "elif not id_:",
        "readiness/test_contracts.py::test_what_was_released_stays",
    ),
    "migrations meet no rows": (
        "readiness/reversibility.py",
        "list(fill(cursor, _ROWS))",
        "list(fill(cursor, 0))",
        "readiness/test_stairway.py::test_rows_are_harmed",
    ),
    "rows without edges": (
        "readiness/seed/values.py",
        "CASE WHEN {lot} < 0.01 THEN",
        "CASE WHEN {lot} < 0 THEN",
        "readiness/test_seed.py::test_values_differ_and_children_are_skewed",
    ),
    "rows without a seed": (
        "readiness/seed/values.py",
        'lots = random.Random(f"{seed} {name}")',
        "lots = random.Random()",
        "readiness/test_seed.py::test_the_same_seed_makes_the_same_rows",
    ),
}
# The same where each tenant has a schema.
TENANTS: Mapping[str, Mutation] = {
    "one schema that fails stops the others": (
        f"{SCHEMA}/runner.py",
        "            failed.append((schema, error))\n        else:\n",
        "            refuse_failed([(schema, error)])\n        else:\n",
        "tenancy/test_schemas.py::test_a_migration_that_fails_in_one_schema_is_done_in_the_others",
    ),
    "a backfill of one schema is enough": (
        f"{SCHEMA}/runner.py",
        "all_of = [schema] if schema != SHARED",
        "all_of = [SHARED] if schema != SHARED",
        "tenancy/test_schemas.py::test_a_contract_waits_for_the_backfill_of_each_schema",
    ),
    "a tenant twice after a kill": (
        f"{SCHEMA}/applying.py",
        "Records(partial(fetched, cursor), schema).write(migration, seconds, effort)",
        'Records(partial(fetched, cursor), "public").write(migration, seconds, effort)',
        "tenancy/test_schemas.py::"
        "test_a_runner_that_is_killed_between_tenants_is_followed_by_one_that_goes_on[12]",
    ),
    "a backfill that fails in one schema stops the others": (
        f"{PLACE}/runner.py",
        '                        failed.append(f"{place}: {error}" '
        "if place != SHARED else str(error))\n",
        "                        raise\n",
        "tenancy/test_backfills_of_schemas.py::test_each_schema_is_gone_through",
    ),
    "a hole in the history of a tenant is passed over": (
        f"{SCHEMA}/tenant_schemas.py",
        "            refuse_unfit(known, history)\n",
        "            refuse_unfit(mine, history)\n",
        "tenancy/test_schemas.py::test_a_hole_in_the_history_of_a_tenant_is_refused",
    ),
    "a report without the schema": (
        f"{SCHEMA}/runner.py",
        'yield f"{migration.id} in {schema}", seconds',
        "yield migration.id, seconds",
        "tenancy/test_schemas.py::test_a_new_tenant_gets_its_schema",
    ),
}
