"""One database for all tests of a module: they are many, and small."""

import os
from collections.abc import Iterator

import pytest

from dev.databases import Databases


@pytest.fixture(scope="module")
def database_url(migrated: str) -> Iterator[str]:
    """Migrated; what earlier tests of the module have stored is still there."""
    databases = Databases(os.environ["DATABASE_URL"])
    url = databases.create(template=migrated)
    yield url
    databases.drop(url)
