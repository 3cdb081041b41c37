"""Which files may be missing, and which may not."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acme_orders.chassis.errors import ConfigurationError
from acme_orders.chassis.migrations.files import Migration
from acme_orders.chassis.migrations.history import Applied, refuse_unfit

APPLIED = ("0001_a", "0002_b", "0004_c", "chassis/0001_d", "chassis/0002_e", "chassis/0003_f")


def refused(there: Sequence[str]) -> str:
    """Which of those that are applied is missed, where these have files."""
    known = [Migration(each, Path(f"{each}.up.sql"), Path(f"{each}.down.sql")) for each in there]
    for each in known:
        each.__dict__["checksum"] = each.id
    history = [Applied(each, each, datetime.now(UTC), 1) for each in APPLIED]
    try:
        refuse_unfit(known, history)
    except ConfigurationError as error:
        return str(error).partition(" is applied, and its files are not in")[0]
    return ""


@pytest.mark.parametrize("own", [APPLIED[:1], APPLIED[:2], APPLIED[:3]])
@pytest.mark.parametrize("chassis", [APPLIED[3:4], APPLIED[3:5], APPLIED[3:]])
def test_the_last_ones_may_be_missing(own: Sequence[str], chassis: Sequence[str]) -> None:
    """An older release starts beside what a newer one has applied."""
    assert refused([*own, *chassis]) == ""


@pytest.mark.parametrize("gone", [0, 1, 3, 4])
def test_others_may_not(gone: int) -> None:
    """Where a later file of the same owner is there; applied or not."""
    assert refused([*APPLIED[:gone], *APPLIED[gone + 1 :]]) == APPLIED[gone]


def test_a_pending_file_comes_after_a_hole() -> None:
    """It is the newest of all, and was written for what is missing."""
    assert refused([*APPLIED[:2], "0005_g", *APPLIED[3:]]) == "0004_c"


def test_a_folder_that_is_gone_is_no_older_release() -> None:
    """Each release has files of the chassis."""
    assert refused(APPLIED[:3]) == "chassis/0001_d"
