"""Databases of tests are in memory where that has room, and on a disk elsewhere."""

import os
from types import SimpleNamespace
from unittest.mock import Mock

import psutil
import pytest

from dev.postgres import Postgres
from dev.scratch import MEMORY, ROOM, Scratch, memory

ROOMY, FULL = ROOM, ROOM - 1


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has all of it."""
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(os, "access", lambda path, _: path == MEMORY)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**disk(ROOMY)))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Mock(available=2 * ROOM))


def disk(free: int, flag: int = 0) -> dict[str, int]:
    """What `statvfs` says of one."""
    return {"f_bavail": free, "f_frsize": 1, "f_flag": flag}


def test_a_machine_with_room_in_memory() -> None:
    """It is taken."""
    assert memory() == MEMORY


@pytest.mark.parametrize("found", [disk(FULL), disk(ROOMY, os.ST_NOEXEC)], ids=["full", "noexec"])
def test_a_container_has_little_of_it(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, int]
) -> None:
    """Or lets no program run there: as root, those of PostgreSQL are beside its data."""
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**found))
    assert memory() is None


def test_memory_that_others_need_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what is free, whatever the folder could take."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Mock(available=2 * ROOM - 1))
    assert memory() is None


def test_a_machine_without_such_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert memory() is None


def test_whoever_names_a_folder_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In TMPDIR, as for all that is temporary."""
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    assert memory() is None


@pytest.mark.parametrize(("settings", "wanted"), [({}, True), ({"fsync": "on"}, False)])
def test_data_that_must_last_is_on_a_disk(
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    wanted: bool,  # noqa: FBT001
) -> None:
    """As benchmarks want it."""
    monkeypatch.setattr("dev.postgres.Scratch", made := Mock())
    Postgres(settings=settings)
    made.assert_called_once_with("dev-postgres-", in_memory=wanted)


def test_other_folders_are_where_all_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants them in memory."""
    monkeypatch.setattr("dev.scratch.memory", Mock(side_effect=AssertionError))
    with Scratch("dev-scratch-") as scratch:
        assert scratch.path.parent != MEMORY
