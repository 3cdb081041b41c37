"""The proofs of a generated project can fail: break what they prove, and they turn red."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_service import edit, python

Bake = Callable[..., Path]
CHASSIS = "src/acme_orders/chassis"
SCHEMA = f"{CHASSIS}/migrations"

# What is broken: file, old and new text, and the test that has to notice.
MUTATIONS = {
    "ack before commit": (
        f"{CHASSIS}/messaging/consumer.py",
        "        try:\n            fresh = await apart(partial(self._run, envelopes))\n",
        "        for early in batch:\n            await early.ack()\n"
        "        try:\n            fresh = await apart(partial(self._run, envelopes))\n",
        "faults/test_crash_points.py::test_between_commit_and_ack",
    ),
    "no inbox": (
        f"{CHASSIS}/messaging/inbox.py",
        "        fresh = [each for key, each in first.items() if key in entered]\n",
        "        return list(envelopes)\n        fresh = []\n",
        "faults/test_crash_points.py::test_between_commit_and_ack",
    ),
    "key of a request forgotten": (
        f"{CHASSIS}/http/keyed.py",
        "                if not await self._entered(key, digest):\n",
        "                if await self._entered(key, digest) is None:\n",
        "integration/test_idempotency_keys.py::"
        "test_a_request_that_comes_again_gets_its_answer_again",
    ),
    "answer of another request": (
        f"{CHASSIS}/http/keyed.py",
        "        if answer.digest != digest:\n",
        "        if answer.digest is None:\n",
        "integration/test_idempotency_keys.py::"
        "test_a_key_belongs_to_one_request[/odd/nothing-body2]",
    ),
    "requeue instead of a retry": (
        f"{CHASSIS}/messaging/recovery.py",
        "                await self._copy(delivery, queue, "
        "{ATTEMPT: next_attempt, FIRST_FAILED: first})\n",
        "                await delivery.release()\n",
        "faults/test_database_faults.py::test_some_of_a_batch_fail",
    ),
    "returned messages ignored": (
        f"{CHASSIS}/rabbitmq/connection.py",
        "publisher_confirms=confirms, on_return_raises=confirms",
        "publisher_confirms=confirms, on_return_raises=False",
        "faults/test_broker_faults.py::test_unroutable",
    ),
    "checkpoint after the transaction": (
        f"{CHASSIS}/backfills/runner.py",
        "                    state = self._run.checkpoint(self._place, portion, pace.size)\n",
        "                state = self._run.checkpoint(self._place, portion, pace.size)\n",
        "backfills/test_runs.py::test_a_checkpoint_is_a_part_of_its_portion",
    ),
    "lease ignored": (
        f"{CHASSIS}/backfills/runs.py",
        "WHERE name = %s AND {_FREE}",
        "WHERE name = %s AND (true OR {_FREE})",
        "backfills/test_control.py::test_a_second_runner_is_told_who_the_first_one_is",
    ),
    "keys not compared as a row": (
        f"{CHASSIS}/backfills/rows.py",
        'return f"({self._keys}) > {self._given} AND {upto}"',
        'return f"NOT ({self._keys}) <= {self._given} AND {upto}"',
        "backfills/test_runs.py::test_a_portion_takes_as_long_at_the_end_as_at_the_beginning[key1]",
    ),
}
# The same of changes of the schema on a busy database.
SCHEMA_MUTATIONS = {
    "index with a lock timeout": (
        f"{SCHEMA}/execution.py",
        "limit = 0 if is_concurrent(statement.node) else patience.lock_timeout",
        "limit = patience.lock_timeout",
        "integration/test_migration_kinds.py::test_an_index_waits_for_others_as_long_as_it_takes",
    ),
    "runners wait inside of the lock": (
        f"{SCHEMA}/lock.py",
        'while not rows(f"SELECT pg_try_advisory_lock({number})")[0][0]:',
        'while not rows(f"SELECT pg_advisory_lock({number})"):',
        "integration/test_migration_kinds.py::test_of_two_runners_one_applies_and_one_waits",
    ),
    "a longer lock timeout": (
        f"{SCHEMA}/execution.py",
        'cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {limit}")',
        'cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {limit * 10}")',
        "integration/test_migration_locks.py::"
        "test_a_blocker_is_named_and_nobody_waits_longer_than_the_lock_timeout",
    ),
    "no second try": (
        f"{SCHEMA}/patience.py",
        '_IN_THE_WAY = {"55P03", "40P01"}',
        '_IN_THE_WAY = {"40P01"}',
        "integration/test_migration_locks.py::test_it_succeeds_when_the_blocker_has_gone",
    ),
    "pauses that do not grow": (
        f"{SCHEMA}/patience.py",
        "2.0 ** (attempt - 1)",
        "1.0 ** (attempt - 1)",
        "integration/test_migration_locks.py::test_the_pauses_between_the_tries_grow",
    ),
    "an old history is not carried over": (
        f"{SCHEMA}/records.py",
        "attname = 'error')",
        "attname = 'id')",
        "integration/test_migration_history.py::test_an_old_history_is_carried_over",
    ),
    "invalid index left": (
        f"{SCHEMA}/repeat.py",
        "        return statement.sql, list(_dropped([name], rows))\n",
        "        return statement.sql, []\n",
        "integration/test_migration_kinds.py::test_an_invalid_index_of_this_name_is_replaced",
    ),
    "interruption forgotten": (
        f"{SCHEMA}/applying.py",
        "        again = self._unfinished(migration, schema)\n        history.write(",
        "        again = False\n        history.write(",
        "integration/test_migration_kinds.py::"
        "test_what_cannot_run_in_a_transaction_runs_without_a_word",
    ),
    "begun and not recorded": (
        f"{SCHEMA}/applying.py",
        '        history.write(migration, 0, Effort(), status="running")\n',
        "",
        "integration/test_migration_kills.py::"
        "test_a_runner_that_is_killed_while_an_index_waits_is_followed_by_one_that_ends_it",
    ),
    "edited file accepted": (
        f"{SCHEMA}/history.py",
        "if each.id in checksums and not each.has(checksums[each.id]):",
        "if each.id in checksums and not each.id:",
        "integration/test_migration_files.py::test_an_applied_file_that_was_changed_is_refused",
    ),
    "late number accepted": (
        f"{SCHEMA}/history.py",
        "        if numbered(late)[1] <= taken:\n",
        "        if numbered(late)[1] < 0:\n",
        "integration/test_migration_files.py::test_a_number_that_comes_too_late_is_refused",
    ),
    "contract before its backfill": (
        f"{SCHEMA}/gates.py",
        'if state != "completed" and _filled(rows, migration, schema):',
        'if state == "failed" and _filled(rows, migration, schema):',
        "integration/test_migration_gates.py::test_a_contract_waits_for_its_backfill",
    ),
    "contract before its release": (
        f"{SCHEMA}/gates.py",
        "numbers_of(stated) > numbers_of(running)",
        "numbers_of(stated) < numbers_of(running)",
        "integration/test_migration_gates.py::test_a_release_that_is_not_yet_is_refused",
    ),
    "two kinds in a file": (
        f"{SCHEMA}/script.py",
        "    for each in statements if alone else ():\n",
        "    for each in ():\n",
        "integration/test_migration_kinds.py::"
        "test_a_file_of_two_kinds_is_refused_before_anything_runs",
    ),
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
    "values of a blocker are told": (
        f"{SCHEMA}/blockers.py",
        'shown += gap + ("?" if value else source',
        'shown += gap + ("?" if not gap else source',
        "integration/test_migration_locks.py::test_values_and_comments_are_not_shown",
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
        f"{SCHEMA}/recipes.py",
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
    "rows of others are overwritten": (
        "src/acme_orders/chassis/backfills/rows.py",
        'ORDER BY {self._keys} FOR UPDATE"',
        'ORDER BY {self._keys}"',
        "backfills/test_runs.py::test_rows_of_others_are_not_overwritten",
    ),
    "a release before that nobody asks": (
        "readiness/contracts/check.py",
        "        if release:\n",
        "        if release and not release.contracts:\n",
        "readiness/test_contracts.py::test_a_change_that_breaks_the_last_release_is_found",
    ),
    "the history is no metric": (
        f"{SCHEMA}/reported.py",
        "line.milliseconds / 1000",
        "line.milliseconds",
        "integration/test_migration_history.py::test_the_history_is_a_metric",
    ),
    "a full disk without a word": (
        f"{SCHEMA}/hints.py",
        '    "53100": "free space',
        '    "53200": "free space',
        "integration/test_migration_full_disk.py::test_a_file_that_is_one_transaction",
    ),
    "half of a file stays on a full disk": (
        f"{SCHEMA}/execution.py",
        "            cursor.execute(script.sql)\n",
        '            for each in script.sql.split(";"):\n'
        '                cursor.execute(f"{each}; COMMIT; BEGIN")\n',
        "integration/test_migration_full_disk.py::test_a_file_that_is_one_transaction",
    ),
    # The moment after the commit is made longer, so that one of the kills meets it.
    "killed before it is recorded": (
        f"{SCHEMA}/execution.py",
        "        cursor.execute(_LEAVE)\n",
        '        cursor.execute(f"COMMIT; {_LEAVE}; SELECT pg_sleep(0.5); BEGIN")\n',
        "integration/test_migration_kills.py::test_a_runner_that_is_killed_at_any_time[0]",
    ),
    "a busy table waits behind a migration": (
        f"{SCHEMA}/execution.py",
        'cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {limit}")',
        'cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {limit * 10}")',
        "integration/test_busy_table.py::test_nobody_waits_for_a_recipe",
    ),
    "a busy table waits for an index": (
        f"{SCHEMA}/recipes.py",
        "changed(node, idxname=name, concurrent=True, if_not_exists=False)",
        "changed(node, idxname=name, concurrent=False, if_not_exists=False)",
        "integration/test_busy_table.py::test_nobody_waits_for_a_recipe",
    ),
    "rows that come back with other values": (
        "readiness/digest.py",
        "if now.columns.get(name) != sum_]",
        "if name not in now.columns]",
        "readiness/test_stairway.py::test_rows_are_harmed",
    ),
}
# The same where each tenant has a schema.
TENANT_MUTATIONS = {
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
}
ALL = {**MUTATIONS, **SCHEMA_MUTATIONS, **TENANT_MUTATIONS}
# `make test` takes those on which the way of a message rests, `make matrix` all.
OFTEN = [
    "ack before commit",
    "no inbox",
    "requeue instead of a retry",
    "returned messages ignored",
]


@pytest.mark.timeout(1200)  # what is broken may wait for its own limit first
@pytest.mark.parametrize(
    "mutation",
    [each if each in OFTEN else pytest.param(each, marks=pytest.mark.matrix) for each in ALL],
)
def test_a_mutation_turns_its_fault_red(bake_fresh: Bake, mutation: str) -> None:
    """It fails, and not because it could not begin; unbroken, it is among the project's own."""
    *place, fault = ALL[mutation]
    tenancy = "schema" if mutation in TENANT_MUTATIONS else "none"
    project = bake_fresh(chassis_tests=True, tenancy=tenancy)
    options = ["-q", "-x", "-p", "no:cacheprovider", "-m", ""]
    command = ["-m", "pytest", *options, f"tests/chassis/{fault}"]
    edit(project, *place)
    ended = python(project, *command)
    assert ended.returncode == 1, ended.stdout[-10_000:] + ended.stderr
    assert "1 failed" in ended.stdout
