"""The proofs of a generated project can fail: break what they prove, and they turn red."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mutations_of_backfills import BACKFILLS
from tests.mutations_of_changes import CHANGES, TENANTS
from tests.mutations_of_migrations import RUNNER
from tests.test_service import edit, python

Bake = Callable[..., Path]
CHASSIS = "src/acme_orders/chassis"

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
}
ALL = {**MUTATIONS, **RUNNER, **BACKFILLS, **CHANGES, **TENANTS}
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
    tenancy = "schema" if mutation in TENANTS else "none"
    project = bake_fresh(chassis_tests=True, tenancy=tenancy)
    options = ["-q", "-x", "-p", "no:cacheprovider", "-m", ""]
    command = ["-m", "pytest", *options, f"tests/chassis/{fault}"]
    edit(project, *place)
    if mutation in OFTEN:  # its fault waits in vain; unbroken, it has what it waits for in seconds
        edit(project, "tests/chassis/conftest.py", "within: float = 90", "within: float = 20")
    ended = python(project, *command)
    assert ended.returncode == 1, ended.stdout[-10_000:] + ended.stderr
    assert "1 failed" in ended.stdout
