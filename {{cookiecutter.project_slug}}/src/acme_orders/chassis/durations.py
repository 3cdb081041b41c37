"""Durations in settings: `250ms`, `30s`, `2m`, `1h`, `14d`, or a plain number of seconds."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _parse(value: object) -> object:
    if isinstance(value, str) and (
        match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", value)
    ):
        return float(match[1]) * _UNITS[match[2] or "s"]
    return value


def _parse_ladder(value: object) -> object:
    if isinstance(value, str):
        return tuple(_parse(step) for step in value.split(","))
    return value


Seconds = Annotated[float, BeforeValidator(_parse), Field(gt=0)]
Ladder = Annotated[
    tuple[Seconds, ...], NoDecode, BeforeValidator(_parse_ladder), Field(min_length=1)
]
