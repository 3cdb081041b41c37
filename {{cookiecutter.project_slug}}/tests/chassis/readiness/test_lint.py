"""The lint has nothing to say of a fine change."""

from pathlib import Path

import pytest

from dev.lint.rules import findings
from dev.lint.source import sources
from tests.chassis.readiness.change import Change, written
from tests.chassis.readiness.fine import FINE


@pytest.mark.parametrize("fine", [each for each in FINE if each.edits], ids=lambda each: each.name)
def test_a_fine_change_passes_the_lint(fine: Change, tmp_path: Path) -> None:
    """What the checklist takes, `make check` takes as well."""
    written(fine, tmp_path / "src" / "shop")

    assert not [str(found) for each in sources(tmp_path) for found in findings(each)]
