"""Any body of a message is decoded or refused in 100 ms and 50 MB; see `cost.py` for how."""

import subprocess
import sys

import pytest

from tests.chassis.conftest import PROJECT


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("step", "others"), [(17, 10), pytest.param(1, 100, marks=pytest.mark.long)]
)
def test_any_body_of_a_message_costs_what_its_size_allows(step: int, others: int) -> None:
    """The worst that anybody thought of, and some more, for payloads of every form."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.chassis.edge.costs", str(step), str(others)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert int(found.stdout.split()[-2]) > 250 // step + others // 2
