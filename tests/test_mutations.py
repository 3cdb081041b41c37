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
}


@pytest.mark.timeout(1200)  # what is broken may wait for its own limit first
@pytest.mark.parametrize(
    "mutation",
    [*MUTATIONS, *(pytest.param(each, marks=pytest.mark.matrix) for each in SCHEMA_MUTATIONS)],
)
def test_a_mutation_turns_its_fault_red(bake_fresh: Bake, mutation: str) -> None:
    """It fails, and not because it could not begin; unbroken, it is among the project's own."""
    *place, fault = {**MUTATIONS, **SCHEMA_MUTATIONS}[mutation]
    project = bake_fresh(chassis_tests=True)
    command = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/chassis/{fault}"]
    edit(project, *place)
    ended = python(project, *command)
    assert ended.returncode == 1, ended.stdout[-10_000:] + ended.stderr
    assert "1 failed" in ended.stdout
