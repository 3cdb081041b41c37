"""F47, F56: one of three RabbitMQ nodes dies or is cut off under load; or all of them are."""

import asyncio
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from dev.rabbitmq import RabbitMQ
from dev.rabbitmq_cluster import RabbitMQCluster
from dev.virtual_hosts import VirtualHosts
from tests.chassis.conftest import eventually
from tests.chassis.faults.conditions import entered, published, readiness, spent_nothing
from tests.chassis.faults.conftest import Settle
from tests.chassis.faults.fleet import Fleet
from tests.chassis.faults.load import Load
from tests.chassis.faults.site import Site
from tests.chassis.service import SERVICE

LONGEST = 40.0  # seconds; a client of ours has to wait no longer until it goes on
# What expires in a retry queue while its leader dies, RabbitMQ 3.10 sends to a leader that is gone,
# and again after three minutes; part of it once more after that.
LONGEST_RETRY = 420.0
LONGEST_PAUSE = """
SELECT extract(epoch FROM max(pause)) FROM (
    SELECT processed_at - lag(processed_at) OVER (ORDER BY processed_at) AS pause FROM inbox
) AS pauses
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RabbitMQCluster]:
    """Three nodes of this module alone, of which one at a time may be killed."""
    with RabbitMQCluster() as running:
        yield running


@pytest.fixture
def management_url(cluster: RabbitMQCluster) -> str:
    """Of this cluster."""
    return cluster.management_url


@pytest.fixture
def broker_url(cluster: RabbitMQCluster) -> Iterator[str]:
    """A virtual host on all nodes; its URL names them all."""
    url = cluster.create_virtual_host()
    yield url
    cluster.drop_virtual_host(url)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("role", ["leader", "connected", "follower"])
@pytest.mark.fault("F47", "a RabbitMQ node dies: leader, connected, follower")
async def test_a_node_dies(
    role: str,
    cluster: RabbitMQCluster,
    site: Site,
    load: Load,
    fleet: Fleet,
    settle: Settle,
    record_property: Callable[[str, object], None],
) -> None:
    """With two of three all goes on; the third comes back unnoticed.

    If it was the leader, retries may be late.
    """
    await _replicated(cluster, site)
    leader = await _leader(cluster, site)
    others = [node for node in cluster.nodes if node is not leader]
    places = [leader, others[0]] if role == "follower" else [others[0], leader, others[1]]
    environment = {"BROKER_URL": _through(site, places), "HEARTBEAT": "3"}
    for _ in range(2):
        await fleet.start(environment=environment)
    victim = {"leader": leader, "follower": others[1]}.get(role)
    victim = victim or await _connected(cluster, site, preferred=others)
    sending = asyncio.gather(
        load.send(300, duplicates=30, rate=30), load.send(30, fate="fail-1", rate=3)
    )
    await eventually(lambda: site.count("sales"))
    await asyncio.to_thread(victim.kill)
    try:
        fresh, _ = await sending
        prompt = {each.id for each in fresh} if victim is leader else load.acknowledged
        await eventually(lambda: _entered(site, prompt & load.acknowledged), within=LONGEST)
        await eventually(lambda: published(site), within=LONGEST)
        ((pause,),) = await site.rows(LONGEST_PAUSE)
        reconnects = await fleet.metric("broker_reconnects_total")
    finally:
        await asyncio.to_thread(victim.start)
    record_property("longest pause in seconds", float(pause))
    assert pause < LONGEST
    assert (reconnects > 0) is (role == "connected") or role == "leader"
    await load.send(50)
    assert [member.lives for member in fleet.members] == [1, 1]
    (await settle(within=LONGEST_RETRY)).check()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.fault("F56", "a RabbitMQ node is cut off from the others")
async def test_a_node_is_cut_off(
    cluster: RabbitMQCluster,
    site: Site,
    load: Load,
    fleet: Fleet,
    settle: Settle,
    record_property: Callable[[str, object], None],
) -> None:
    """It pauses, and its clients go to the others. It leads the queue, if a process uses it."""
    await asyncio.to_thread(cluster.pause_minorities)
    await _replicated(cluster, site)
    for _ in range(2):
        await fleet.start(environment={"HEARTBEAT": "3"})
    leader = await _leader(cluster, site)
    victim = await _connected(cluster, site, preferred=[leader])
    sending = asyncio.gather(
        load.send(300, duplicates=30, rate=30), load.send(30, fate="fail-1", rate=3)
    )
    await eventually(lambda: site.count("sales"))
    await asyncio.to_thread(cluster.cut_off, victim)
    try:
        await eventually(lambda: _paused(victim), within=LONGEST)
        for node in cluster.nodes:
            assert await _paused(node) is (node is victim)
        fresh, _ = await sending
        prompt = {each.id for each in fresh}
        await eventually(lambda: _entered(site, prompt & load.acknowledged), within=LONGEST)
        await eventually(readiness(fleet, 200), within=LONGEST)
        ((pause,),) = await site.rows(LONGEST_PAUSE)
        assert await fleet.metric("broker_reconnects_total") > 0
        assert await _paused(victim)
    finally:
        await asyncio.to_thread(cluster.rejoin, victim)
        await eventually(lambda: _whole(cluster), within=LONGEST)
    record_property("longest pause in seconds", float(pause))
    assert pause < LONGEST
    await load.send(50)
    assert [member.lives for member in fleet.members] == [1, 1]
    (await settle(within=LONGEST_RETRY)).check()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.fault("F56", "all RabbitMQ nodes are cut off from each other")
async def test_all_nodes_are_cut_off(
    cluster: RabbitMQCluster, site: Site, load: Load, fleet: Fleet, settle: Settle
) -> None:
    """None has most of the others, so all pause: an outage, which is over when they meet again."""
    await asyncio.to_thread(cluster.pause_minorities)
    await _replicated(cluster, site)
    for _ in range(2):
        await fleet.start(environment={"HEARTBEAT": "3"})
    sending = asyncio.create_task(load.send(300, duplicates=30, rate=30))
    await eventually(lambda: site.count("sales"))
    await asyncio.to_thread(cluster.cut_off, *cluster.nodes)
    try:
        await eventually(lambda: _paused(*cluster.nodes), within=LONGEST)
        await eventually(readiness(fleet, 503), within=LONGEST)
    finally:
        await asyncio.to_thread(cluster.rejoin, *cluster.nodes)
        await eventually(lambda: _whole(cluster), within=2 * LONGEST)
    await eventually(readiness(fleet, 200), within=LONGEST)
    await sending
    await spent_nothing(fleet, site, load)
    (await settle(within=LONGEST_RETRY)).check()


async def _paused(*nodes: RabbitMQ) -> bool:
    """Whether their Erlang machines run, and RabbitMQ on none of them."""
    asked = ("eval", "rabbit:is_running().")
    running = [await asyncio.to_thread(node.ctl, *asked) for node in nodes]
    return [answer.strip() for answer in running] == ["false"] * len(nodes)


async def _whole(cluster: RabbitMQCluster) -> bool:
    """Whether every node runs, and sees all others."""
    names = {node.name for node in cluster.nodes}
    for node in cluster.nodes:
        ask = VirtualHosts(node.url, node.management_url).ask
        try:
            found = await asyncio.to_thread(ask, "GET", "/api/nodes")
        except (OSError, HTTPException, RuntimeError):
            return False
        if names != {each["name"] for each in found if each["running"]}:
            return False
    return True


async def _replicated(cluster: RabbitMQCluster, site: Site) -> None:
    """Wait until every queue is written on all nodes; one that is not does not survive a kill."""
    ask = _management(cluster)
    names, nodes = {queue.name for queue in site.topology}, {node.name for node in cluster.nodes}

    async def everywhere() -> bool:
        queues = await asyncio.to_thread(ask, "GET", f"/api/queues/{_host(site)}")
        there = {each["name"] for each in queues if set(each.get("online", ())) == nodes}
        led = {each["name"] for each in queues if each.get("leader") in nodes}
        return names <= there & led

    await eventually(everywhere)
    await eventually(cluster.queues_written)


async def _leader(cluster: RabbitMQCluster, site: Site) -> RabbitMQ:
    queue = f"/api/queues/{_host(site)}/{quote(site.topology.main.name, safe='')}"
    found = await asyncio.to_thread(_management(cluster), "GET", queue)
    return next(node for node in cluster.nodes if node.name == found["leader"])


async def _connected(
    cluster: RabbitMQCluster, site: Site, *, preferred: list[RabbitMQ]
) -> RabbitMQ:
    """A node that a process of the service is connected to, if possible a preferred one."""
    host, names = urlsplit(site.broker_url).path[1:], set[str]()

    async def known() -> bool:
        found = await asyncio.to_thread(_management(cluster), "GET", "/api/connections")
        ours = [
            each["node"]
            for each in found
            if each.get("vhost") == host
            and each.get("user_provided_name", "").startswith(SERVICE.name)
        ]
        names.update(ours)
        return len(ours) >= 6  # three of each process

    await eventually(known)
    nodes = [*preferred, *cluster.nodes]
    return next(node for node in nodes if node.name in names)


async def _entered(site: Site, ids: set[str]) -> bool:
    return ids <= await entered(site)


def _management(cluster: RabbitMQCluster) -> Callable[..., Any]:
    return VirtualHosts(cluster.url, cluster.management_url).ask


def _host(site: Site) -> str:
    return quote(urlsplit(site.broker_url).path[1:], safe="")


def _through(site: Site, nodes: list[RabbitMQ]) -> str:
    """The URL of the site with these nodes."""
    place = site.broker_url.rpartition("@")[2].partition("/")[0]
    return site.broker_url.replace(
        place, ",".join(urlsplit(node.url).netloc.rpartition("@")[2] for node in nodes)
    )
