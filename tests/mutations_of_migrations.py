"""What is broken in the runner of migrations: file, old and new text, and the test that notices."""

from collections.abc import Mapping

Mutation = tuple[str, str, str, str]
SCHEMA = "src/acme_orders/chassis/migrations"
RUN = "integration/test_migration"

RUNNER: Mapping[str, Mutation] = {
    "index with a lock timeout": (
        f"{SCHEMA}/execution.py",
        "limit = 0 if is_concurrent(statement.node) else patience.lock_timeout",
        "limit = patience.lock_timeout",
        f"{RUN}_kinds.py::test_an_index_waits_for_others_as_long_as_it_takes",
    ),
    "runners wait inside of the lock": (
        f"{SCHEMA}/lock.py",
        'while not rows(f"SELECT pg_try_advisory_lock({number})")[0][0]:',
        'while not rows(f"SELECT pg_advisory_lock({number})"):',
        f"{RUN}_kinds.py::test_of_two_runners_one_applies_and_one_waits",
    ),
    "a longer lock timeout": (
        f"{SCHEMA}/execution.py",
        'cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {limit}")',
        'cursor.execute(f"BEGIN; SET LOCAL lock_timeout = {limit * 10}")',
        f"{RUN}_locks.py::test_a_blocker_is_named_and_nobody_waits_longer_than_the_lock_timeout",
    ),
    "no second try": (
        f"{SCHEMA}/patience.py",
        '_IN_THE_WAY = {"55P03", "40P01"}',
        '_IN_THE_WAY = {"40P01"}',
        f"{RUN}_locks.py::test_it_succeeds_when_the_blocker_has_gone",
    ),
    "pauses that do not grow": (
        f"{SCHEMA}/patience.py",
        "2.0 ** (attempt - 1)",
        "1.0 ** (attempt - 1)",
        f"{RUN}_locks.py::test_the_pauses_between_the_tries_grow",
    ),
    "an old history is not carried over": (
        f"{SCHEMA}/records.py",
        "attname = 'error')",
        "attname = 'id')",
        f"{RUN}_history.py::test_an_old_history_is_carried_over",
    ),
    "invalid index left": (
        f"{SCHEMA}/repeat.py",
        "        return statement.sql, list(_dropped([name], rows))\n",
        "        return statement.sql, []\n",
        f"{RUN}_kinds.py::test_an_invalid_index_of_this_name_is_replaced",
    ),
    "interruption forgotten": (
        f"{SCHEMA}/applying.py",
        "        again = self._unfinished(migration, schema)\n        history.write(",
        "        again = False\n        history.write(",
        f"{RUN}_kinds.py::test_what_cannot_run_in_a_transaction_runs_without_a_word",
    ),
    "begun and not recorded": (
        f"{SCHEMA}/applying.py",
        '        history.write(migration, 0, Effort(), status="running")\n',
        "",
        f"{RUN}_kills.py::"
        "test_a_runner_that_is_killed_while_an_index_waits_is_followed_by_one_that_ends_it",
    ),
    "edited file accepted": (
        f"{SCHEMA}/history.py",
        "if each.id in checksums and not each.has(checksums[each.id]):",
        "if each.id in checksums and not each.id:",
        f"{RUN}_files.py::test_an_applied_file_that_was_changed_is_refused",
    ),
    "a hole is passed over": (
        f"{SCHEMA}/runner.py",
        "        refuse_unfit(known, history)\n",
        "",
        f"{RUN}_files.py::test_a_hole_is_refused[0002_two]",
    ),
    "an older release does not start": (
        f"{SCHEMA}/history.py",
        "if line.id not in ids and number < newest.get(series, number + 1):",
        "if line.id not in ids:",
        f"{RUN}_files.py::test_only_the_last_files_of_each_owner_may_be_missing",
    ),
    "holes of one owner only": (
        f"{SCHEMA}/history.py",
        "if line.id not in ids and number < newest.get(series, number + 1):",
        'if line.id not in ids and number < newest.get("", number + 1):',
        f"{RUN}_files.py::test_only_the_last_files_of_each_owner_may_be_missing",
    ),
    "late number accepted": (
        f"{SCHEMA}/history.py",
        "        if numbered(late)[1] <= taken:\n",
        "        if numbered(late)[1] < 0:\n",
        f"{RUN}_files.py::test_a_number_that_comes_too_late_is_refused",
    ),
    "contract before its backfill": (
        f"{SCHEMA}/gates.py",
        'if state != "completed" and _filled(rows, migration, schema):',
        'if state == "failed" and _filled(rows, migration, schema):',
        f"{RUN}_gates.py::test_a_contract_waits_for_its_backfill",
    ),
    "contract before its release": (
        f"{SCHEMA}/gates.py",
        "numbers_of(stated) > numbers_of(running)",
        "numbers_of(stated) < numbers_of(running)",
        f"{RUN}_gates.py::test_a_release_that_is_not_yet_is_refused",
    ),
    "two kinds in a file": (
        f"{SCHEMA}/script.py",
        "    for each in statements if alone else ():\n",
        "    for each in ():\n",
        f"{RUN}_kinds.py::test_a_file_of_two_kinds_is_refused_before_anything_runs",
    ),
    "values of a blocker are told": (
        f"{SCHEMA}/blockers.py",
        'shown += gap + ("?" if value else source',
        'shown += gap + ("?" if not gap else source',
        f"{RUN}_locks.py::test_values_and_comments_are_not_shown",
    ),
    "the history is no metric": (
        f"{SCHEMA}/reported.py",
        "line.milliseconds / 1000",
        "line.milliseconds",
        f"{RUN}_history.py::test_the_history_is_a_metric",
    ),
    "a full disk without a word": (
        f"{SCHEMA}/hints.py",
        '    "53100": "free space',
        '    "53200": "free space',
        f"{RUN}_full_disk.py::test_a_file_that_is_one_transaction",
    ),
    "half of a file stays on a full disk": (
        f"{SCHEMA}/execution.py",
        "            cursor.execute(script.sql)\n",
        '            for each in script.sql.split(";"):\n'
        '                cursor.execute(f"{each}; COMMIT; BEGIN")\n',
        f"{RUN}_full_disk.py::test_a_file_that_is_one_transaction",
    ),
    # The moment after the commit is made longer, so that one of the kills meets it.
    "killed before it is recorded": (
        f"{SCHEMA}/execution.py",
        "        cursor.execute(_LEAVE)\n",
        '        cursor.execute(f"COMMIT; {_LEAVE}; SELECT pg_sleep(0.5); BEGIN")\n',
        f"{RUN}_kills.py::test_a_runner_that_is_killed_at_any_time[0]",
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
    "an index that is not valid is taken": (
        f"{SCHEMA}/repeat.py",
        "            if not found or not found[0]:\n",
        "            if not found:\n",
        f"{RUN}_kinds.py::test_an_index_that_is_made_and_not_valid_is_refused",
    ),
    "a statement that fails leaves its index": (
        f"{SCHEMA}/repeat.py",
        "names = [found[5]] if found and found[0] is False and found[1] else ()",
        "names = ()",
        f"{RUN}_kinds.py::test_a_statement_that_fails_leaves_nothing_behind",
    ),
    "nobody looks who is in the way": (
        f"{SCHEMA}/blockers.py",
        "self.seen = found or self.seen",
        "self.seen = []",
        f"{RUN}_locks.py::test_a_blocker_is_named_and_nobody_waits_longer_than_the_lock_timeout",
    ),
    "every error is tried again": (
        f"{SCHEMA}/patience.py",
        "if driver.sqlstate(error) not in _IN_THE_WAY:",
        "if driver.sqlstate(error) is None:",
        f"{RUN}_locks.py::test_any_other_error_is_not_tried_again",
    ),
    "the tries are not counted": (
        f"{SCHEMA}/patience.py",
        "effort.attempts = max(attempt, effort.attempts)",
        "effort.attempts = 1",
        f"{RUN}_locks.py::test_it_succeeds_when_the_blocker_has_gone",
    ),
    "what a file sets outlives it": (
        f"{SCHEMA}/execution.py",
        "; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL",
        "",
        "integration/test_migrations.py::test_nothing_of_a_session_reaches_the_next_file",
    ),
    "the last statement of a killed runner is not waited for": (
        f"{SCHEMA}/lock.py",
        "for number in (_RUNNER, _FILE):",
        "for number in (_RUNNER,):",
        f"{RUN}_kills.py::test_the_last_statement_of_a_runner_that_was_killed_is_waited_for",
    ),
    "a repair builds no index": (
        f"{SCHEMA}/repairing.py",
        'session.rows(f"REINDEX INDEX CONCURRENTLY {name}")',
        'session.rows("SELECT 1")',
        f"{RUN}_history.py::test_verify_and_repair_say_what_they_find_and_do",
    ),
    "a repair applies what was taken back": (
        f"{SCHEMA}/repairing.py",
        'back = line.direction == "down"',
        "back = False",
        f"{RUN}_history.py::test_what_was_being_taken_back_is_finished",
    ),
    "a repair accepts every edit": (
        f"{SCHEMA}/repairing.py",
        "if line.id in accept and not",
        "if line.id in migrations and not",
        f"{RUN}_history.py::test_what_was_changed_is_accepted_only_by_name",
    ),
    "an invalid index is no finding": (
        f"{SCHEMA}/session.py",
        "WHERE NOT indisvalid AND relkind",
        "WHERE false AND relkind",
        f"{RUN}_history.py::test_verify_says_all_that_is_wrong",
    ),
    "a number given twice": (
        f"{SCHEMA}/files.py",
        "if other.id != prefix + name[1]:",
        'if other.id == "":',
        f"{RUN}_files.py::test_a_file_that_would_be_passed_over_is_named",
    ),
    "a file without its counterpart": (
        f"{SCHEMA}/files.py",
        "            if not file.is_file():\n",
        "            if not file.name:\n",
        f"{RUN}_files.py::test_a_file_that_would_be_passed_over_is_named",
    ),
    "two owners of one series": (
        f"{SCHEMA}/files.py",
        "return series, int(name[:4])",
        'return "", int(name[:4])',
        f"{RUN}_files.py::test_an_update_of_the_template_takes_no_number_of_the_project",
    ),
    "an empty way back": (
        f"{SCHEMA}/session.py",
        "elif up.sql and not down.sql and each.reversible:",
        "elif up.sql is None:",
        "integration/test_migrations.py::"
        "test_a_way_back_that_was_promised_and_is_not_there_is_refused",
    ),
    "a head that is none": (
        f"{SCHEMA}/header.py",
        '    elif not body and (said or (meant["sign"] != " " and key.islower())):\n',
        "    elif key is None:\n",
        f"{RUN}_gates.py::test_a_head_that_cannot_be_understood_is_refused",
    ),
    "a role that may not is told nothing": (
        f"{SCHEMA}/hints.py",
        '"42501": "migrations need the owner of the tables (MIGRATION_DATABASE_URL)"',
        '"42501": ""',
        "integration/test_migrations.py::test_a_role_that_may_not_do_it_changes_nothing",
    ),
}
