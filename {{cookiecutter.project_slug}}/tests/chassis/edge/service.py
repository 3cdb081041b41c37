# feature: http_api
"""The service with one more slice, and with an eye on its event loop; runs the command line.

`GET /cost` tells what was the longest time that the loop was busy without a pause, since the last
time that somebody asked, and how much memory the process ever had.
"""

import asyncio
import resource
import sys
import time
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Cookie, Query, Request

from acme_orders.chassis.cli import commands as cli
from acme_orders.chassis.database.manager import Manager
from acme_orders.chassis.slice import Chassis, Slice

from tests.chassis.edge.cost import peak
from tests.chassis.edge.forms import Everything, Plain, Point
from tests.chassis.service import SERVICE


def slice_of_its_own(manager: Manager) -> APIRouter:
    """Routes as any team writes them."""
    routes = APIRouter(prefix="/forms")
    _with_bodies(routes)
    _without(routes, manager)
    return routes


def _with_bodies(routes: APIRouter) -> None:
    @routes.post("/payload")
    async def payload(form: Everything) -> dict[str, Any]:
        return {"text": form.text}

    @routes.post("/list")
    async def many(forms: list[Point]) -> int:
        return len(forms)

    @routes.post("/dict")
    async def by_name(forms: dict[str, Point]) -> int:
        return len(forms)

    @routes.post("/plain")
    async def plain(form: Plain) -> int:
        return form.a

    @routes.post("/two")
    async def two(point: Point, plain: Plain | None = None) -> int:
        return point.x + (plain.a if plain else 0)

    @routes.post("/embedded")
    async def embedded(points: Annotated[list[Point], Body(embed=True)]) -> int:
        return len(points)

    @routes.post("/anything")
    async def anything(value: Annotated[Any, Body()]) -> str:
        return type(value).__name__

    @routes.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())


def _without(routes: APIRouter, manager: Manager) -> None:
    @routes.get("/query")
    async def query(
        ids: Annotated[list[int], Query()] = [],  # noqa: B006  it is copied
        text: str = "",
        crumb: Annotated[str, Cookie()] = "",
    ) -> str:
        return f"{len(ids)} {text}{crumb}"

    @routes.get("/long")
    async def long(size: int) -> str:
        return "x" * size

    @routes.get("/slow")
    async def slow(seconds: float) -> int:
        async with manager.transaction("slow", read_only=True):
            return len(await manager.fetch_sql("SELECT pg_sleep(%s)", seconds))

    @routes.get("/value")
    async def value(at: datetime | None = None, number: int = 0, text: str = "") -> str:
        async with manager.transaction("value", read_only=True):
            rows = await manager.fetch_sql(
                "SELECT %s::timestamptz IS NULL, %s::bigint, %s::text", at, number, text
            )
        return str(rows[0])

    @routes.get("/twice")
    async def twice() -> None:
        for _ in range(2):
            async with manager.transaction("twice", read_only=True):
                await manager.fetch_sql("SELECT 1")

    @routes.get("/bug")
    async def bug() -> None:
        raise RuntimeError("a bug")


def observed(manager: Manager) -> APIRouter:
    """These routes and the cost of all; called when the loop runs."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)
            await asyncio.sleep(0.001)

    watching = asyncio.get_running_loop().create_task(watch())
    routes = APIRouter()
    routes.include_router(slice_of_its_own(manager))

    @routes.get("/cost")
    async def cost() -> dict[str, float]:
        nonlocal longest
        assert not watching.done()
        found, longest = longest, 0.0
        return {"seconds": found, "megabytes": peak()}

    return routes


def edge(chassis: Chassis[Any]) -> Slice:
    """It has routes and nothing else."""
    return Slice("edge", routes=partial(observed, chassis.manager))


def main(arguments: list[str]) -> None:
    """Run the command line, with as many open files as the first argument says."""
    files = int(arguments[0])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    service = replace(SERVICE, slices=(*SERVICE.slices, edge))
    cli.cli(arguments[1:], obj=lambda: service)


if __name__ == "__main__":
    main(sys.argv[1:])
