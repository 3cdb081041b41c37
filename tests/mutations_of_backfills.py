"""What is broken in backfills: file, old and new text, and the test that notices."""

from collections.abc import Mapping

from tests.mutations_of_migrations import Mutation

PLACE = "src/acme_orders/chassis/backfills"

BACKFILLS: Mapping[str, Mutation] = {
    "checkpoint after the transaction": (
        f"{PLACE}/runner.py",
        "                    state = self._run.checkpoint(self._place, portion, pace.size)\n",
        "                state = self._run.checkpoint(self._place, portion, pace.size)\n",
        "backfills/test_runs.py::test_a_checkpoint_is_a_part_of_its_portion",
    ),
    "lease ignored": (
        f"{PLACE}/runs.py",
        "WHERE name = %s AND {_FREE}",
        "WHERE name = %s AND (true OR {_FREE})",
        "backfills/test_control.py::test_a_second_runner_is_told_who_the_first_one_is",
    ),
    "keys not compared as a row": (
        f"{PLACE}/rows.py",
        'return f"({self._keys}) > {self._given} AND {upto}"',
        'return f"NOT ({self._keys}) <= {self._given} AND {upto}"',
        "backfills/test_runs.py::test_a_portion_takes_as_long_at_the_end_as_at_the_beginning[key1]",
    ),
    "rows of others are overwritten": (
        f"{PLACE}/rows.py",
        'ORDER BY {self._keys} FOR UPDATE"',
        'ORDER BY {self._keys}"',
        "backfills/test_runs.py::test_rows_of_others_are_not_overwritten",
    ),
    "a portion is not halved": (
        f"{PLACE}/pace.py",
        "        if self.size > 1:\n",
        "        if self.size < 1:\n",
        "backfills/test_runs.py::test_a_portion_that_takes_too_long_is_halved",
    ),
    "no rest between portions": (
        f"{PLACE}/pace.py",
        "return seconds * (1 / self._limits.share - 1)",
        "return 0",
        "backfills/test_runs.py::test_it_rests",
    ),
    "rows that remain are not seen": (
        f"{PLACE}/runner.py",
        "            case [(0,)]:\n",
        "            case [(int(),)]:\n",
        "backfills/test_runs.py::test_rows_that_come_later_are_for_the_new_code",
    ),
    "a wrong backfill does not stop": (
        f"{PLACE}/runner.py",
        "if aside > self._limits.aside:",
        "if aside < 0:",
        "backfills/test_runs.py::test_a_row_that_is_wrong_is_set_aside_and_a_wrong_backfill_stops",
    ),
    "a pause is passed over": (
        f"{PLACE}/runs.py",
        "CASE WHEN state IN ('pending', 'running', 'throttled') THEN %s",
        "CASE WHEN state <> 'cancelled' THEN %s",
        "backfills/test_control.py::test_paused_it_waits_and_resumed_it_goes_on",
    ),
    "a changed backfill goes on": (
        f"{PLACE}/runs.py",
        "if started and checksum != self.found.checksum and not restart:",
        "if started and checksum is None:",
        "backfills/test_control.py::test_a_changed_file_does_not_go_on",
    ),
    "a silent runner is not replaced": (
        f"{PLACE}/runs.py",
        "make_interval(secs => %s)",
        "make_interval(hours => 9, secs => %s)",
        "backfills/test_control.py::"
        "test_a_silent_runner_is_replaced_and_undoes_what_it_had_in_hand",
    ),
    "a replaced runner goes on": (
        f"{PLACE}/runs.py",
        'mine = " AND owner = %s" if each == SHARED else ""',
        'mine = ""',
        "backfills/test_control.py::"
        "test_a_silent_runner_is_replaced_and_undoes_what_it_had_in_hand",
    ),
    "an old transaction is no reason to wait": (
        f"{PLACE}/throttle.py",
        "if oldest > limits.oldest:",
        "if oldest < 0:",
        "backfills/test_control.py::test_it_waits_for_others_and_says_for_whom",
    ),
    "its own throttle is not asked": (
        f"{PLACE}/throttle.py",
        "if asked and asked > 0:",
        "if asked and asked < 0:",
        "backfills/test_control.py::test_it_waits_for_others_and_says_for_whom",
    ),
    "a vacuum is no reason to wait": (
        f"{PLACE}/throttle.py",
        "        if vacuums:\n",
        "        if vacuums < 0:\n",
        "backfills/test_servers.py::test_it_waits_for_a_vacuum",
    ),
    "models in a backfill": (
        f"{PLACE}/files.py",
        "if module != _BASE and module",
        "if not module and module",
        "backfills/test_files.py::test_a_file_that_is_no_backfill",
    ),
    "a backfill without a word": (
        f"{PLACE}/reported.py",
        "metrics.backfill_still.labels(run.name).set(max(run.still, 0))",
        "metrics.backfill_still.labels(run.name).set(0)",
        "backfills/test_reported.py::test_a_scrape_tells_how_backfills_are",
    ),
}
