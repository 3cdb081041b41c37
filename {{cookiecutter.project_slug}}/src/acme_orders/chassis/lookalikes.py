"""Variables that nobody reads, though their names are close to that of a setting."""

import difflib
from collections.abc import Iterable, Mapping

from pydantic_settings import DotEnvSettingsSource

from acme_orders.chassis.settings import ChassisSettings

_CLOSE = 0.85  # of difflib: a letter too many, missing or exchanged


def lookalikes(kind: type[ChassisSettings], environment: Iterable[str]) -> Mapping[str, str]:
    """Names that are no setting, there or in `.env`, each with the one that was probably meant.

    Args:
        kind: of the settings.
        environment: names of variables.
    """
    known = {name.upper() for name in kind.model_fields}
    names = {name.upper() for name in (*environment, *DotEnvSettingsSource(kind).env_vars)}
    found = {
        name: difflib.get_close_matches(name, known, 1, _CLOSE) for name in sorted(names - known)
    }
    return {name: near[0] for name, near in found.items() if near}
