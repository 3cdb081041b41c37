"""F45: all faults at random, for a minute; `make soak` goes on for as long as you like."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chassis.conftest import PROJECT
from tests.chassis.faults.soak import Plan, soak


@pytest.mark.long
@pytest.mark.fault("F45", "faults at random, two at once, for a minute")
async def test_a_minute_of_faults(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Every message is accounted for, and the process that nobody killed holds no more."""
    monkeypatch.chdir(PROJECT)
    account, problems = await soak(Plan(seed=1, seconds=60, messages=500), tmp_path)
    record_property("account", json.dumps(account.row()))
    assert not problems, "\n".join(problems)
