# feature: http_api
"""A list over HTTP, page by page: what comes in a query, and what goes out."""

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import Field

from acme_orders.chassis.database.cursors import LONGEST, Page

Kind = TypeVar("Kind")
Cursor = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=LONGEST,
        pattern="^[A-Za-z0-9_-]+$",
        description="`next` of the page before; without it the first page comes",
    ),
]


@dataclass(frozen=True)
class Listed(Generic[Kind]):
    """A page of a list."""

    items: list[Kind]
    next: Annotated[
        str | None,
        Field(description="`cursor` of the next page, with the same query; null: this is the last"),
    ]


def listed(page: Page[Kind]) -> Listed[Kind]:
    """What a client gets of a page."""
    return Listed(page, page.next)
