"""Fields of our own, and what they need in the database."""

import enum
import json
from decimal import Decimal
from typing import Any

import peewee

TYPES = """
    CREATE EXTENSION hstore;
    CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TYPE place AS (x int, name text);
    CREATE DOMAIN amount AS bigint NOT NULL DEFAULT 7 CHECK (VALUE >= 0);
"""


class Moods(enum.Enum):
    """How somebody feels."""

    GOOD = "good"
    BAD = "bad"


class Colour(enum.StrEnum):
    """A text that is an enum."""

    RED = "red"


class Level(enum.IntEnum):
    """A number that is an enum."""

    HIGH = 3


class Parent(peewee.Model):
    """Something that is referred to by bytes."""

    id = peewee.BlobField(primary_key=True)


class Sealed(peewee.TextField):
    """A text that nobody reads in the database."""

    def db_value(self, value: str | None) -> str | None:
        """Seal it."""
        return None if value is None else "sealed:" + value[::-1]

    def python_value(self, value: str | None) -> str | None:
        """Open it."""
        return None if value is None else value.removeprefix("sealed:")[::-1]


class Cents(peewee.IntegerField):
    """An amount that is stored in its smallest unit."""

    def db_value(self, value: Any) -> Any:
        """In cents, and not yet an integer."""
        return None if value is None else Decimal(value) * 100

    def python_value(self, value: int | None) -> Decimal | None:
        """In the currency."""
        return None if value is None else Decimal(value) / 100


class SealedParent(peewee.Model):
    """Something that is referred to by what is stored otherwise."""

    id = Sealed(primary_key=True)


class EmptyForNone(peewee.TextField):
    """A text that is never NULL."""

    def db_value(self, value: str | None) -> str:
        """Store nothing as an empty text."""
        return value or ""

    def python_value(self, value: str) -> str | None:
        """Read an empty text as nothing."""
        return value or None


class Spelled(peewee.TextField):
    """A document that a field spells itself."""

    field_type = "JSONB"

    def db_value(self, value: Any) -> str | None:
        """As JSON."""
        return None if value is None else json.dumps(value)

    def python_value(self, value: Any) -> Any:
        """What the driver reads."""
        return value


class Mood(peewee.Field):
    """One of PostgreSQL's enums."""

    field_type = "mood"

    def db_value(self, value: enum.Enum | None) -> Any:
        """Its label."""
        return value and value.value


def exact(value: Any) -> str:
    """JSON as only this field writes it."""
    return json.dumps(value, ensure_ascii=False, indent=1)
