"""What goes wrong with a Redis Cluster on purpose: one of its nodes at a time. Workers, broker and mails: as ever."""

from __future__ import annotations

import os
import time
from random import Random

from chaos.faults import FAULTS, LANES, Fault, World

from services.state import keys
from support.redis_cluster import ClusterNodeServer, RedisClusterServer


def _cluster(world: World) -> RedisClusterServer:
    found = world.servers.cluster
    assert found is not None
    return found


def _node(world: World, draw: Random) -> ClusterNodeServer:
    """One that has a lane: otherwise nobody would notice."""
    return _cluster(world).owner(keys.fence(draw.randrange(LANES)))


def _restart(world: World, draw: Random) -> str:
    node, kill, down_s = _node(world, draw), draw.random() < 0.5, draw.uniform(0.0, 4.0)
    (node.kill if kill else node.stop)()
    time.sleep(down_s)
    node.start(120.0)
    _cluster(world).wait()
    return f"node {node.port}, {'kill -9' if kill else 'SIGTERM'}, {down_s:.1f} s"


def _power(world: World, draw: Random) -> str:
    node, seconds = _node(world, draw), draw.uniform(0.1, 2.5)
    with node.client() as client:
        client.config_set("auto-aof-rewrite-percentage", 0)
    before = node.aof().stat().st_size
    time.sleep(seconds)
    node.kill()
    size = node.aof().stat().st_size
    kept = before + int((size - before) * draw.random())
    os.truncate(node.aof(), kept)
    node.start(120.0)
    _cluster(world).wait()
    return f"node {node.port}: {size - kept:,} bytes of the AOF's last {seconds:.1f} s are lost"


def _frozen(world: World, draw: Random) -> str:
    node, seconds = _node(world, draw), draw.uniform(1.0, 5.0)
    node.pause()
    time.sleep(seconds)
    node.resume()
    _cluster(world).wait()
    return f"node {node.port}, {seconds:.1f} s"


def _full(world: World, draw: Random) -> str:
    node, seconds = _node(world, draw), draw.uniform(1.0, 4.0)
    with node.client() as client:
        client.config_set("maxmemory", "1mb")
        time.sleep(seconds)
        client.config_set("maxmemory", "0")
    return f"node {node.port}, {seconds:.1f} s"


def _cut(world: World, draw: Random) -> str:
    cut, node = 0, _node(world, draw)
    for _ in range(draw.randrange(1, 6)):
        with node.client() as client:
            cut += int(client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
        time.sleep(draw.uniform(0.0, 0.5))
    return f"{cut} connections to node {node.port}"


def _slot(world: World, draw: Random) -> str:
    lane = draw.randrange(LANES)
    return f"lane {lane} moved to node {_cluster(world).move_slot(keys.fence(lane)).port}"


CLUSTER_FAULTS: tuple[Fault, ...] = (
    *(fault for fault in FAULTS if fault.on != "redis"),
    Fault("a node of the cluster restarts", "redis", _restart),
    Fault("a node of the cluster loses power: the end of its AOF is gone", "redis", _power),
    Fault("a node of the cluster does not answer", "redis", _frozen),
    Fault("a node of the cluster is full and refuses writes", "redis", _full),
    Fault("connections to a node of the cluster are cut", "redis", _cut),
    Fault("a lane's slot moves to another node", "redis", _slot),
)
