"""A task queue on a stream: workers read one task at a time, two of them die over a task, others claim it.

Usage: task_queue.py PORT … | task_queue.py --worker NAME DIES_AT PORT …
"""

import os
import subprocess
import sys

from redis.cluster import ClusterNode, RedisCluster

STREAM, GROUP = "{tasks}:stream", "workers"
RESULTS, DONE = "{tasks}:results", "{tasks}:done"
TASKS = 120
CLAIM_AFTER_MS = 200
DEAD = 7


def connect(ports):
    nodes = [ClusterNode("127.0.0.1", int(port)) for port in ports]
    return RedisCluster(startup_nodes=nodes, decode_responses=True)


def work(name, dies_at, ports):
    """Does tasks until none is left; at the task number `dies_at` of its own it is gone, the task not acknowledged."""
    r = connect(ports)
    # Whoever comes late may find nothing left to do.
    assert r.xgroup_createconsumer(STREAM, GROUP, name) == 1
    taken = 0
    while r.scard(DONE) < TASKS:
        # First what others have left behind, then something new. Those who are to die leave the dead alone.
        claimed = []
        if not dies_at:
            _, claimed, _ = r.xautoclaim(STREAM, GROUP, name, CLAIM_AFTER_MS, "0-0", count=1)
        if not claimed:
            fresh = r.xreadgroup(GROUP, name, {STREAM: ">"}, count=1, block=100)
            claimed = fresh[0][1] if fresh else []
        for task_id, task in claimed:
            taken += 1
            if taken == dies_at:
                os._exit(DEAD)
            with r.pipeline() as pipe:
                pipe.hset(RESULTS, task["number"], int(task["number"]) ** 2)
                pipe.sadd(DONE, task["number"])
                pipe.execute()
            # Nobody's any more, if another took this one for dead.
            assert r.xack(STREAM, GROUP, task_id) in (0, 1)


def main(ports):
    r = connect(ports)
    assert r.xgroup_create(STREAM, GROUP, id="$", mkstream=True)
    ids = [r.xadd(STREAM, {"number": number, "kind": "square"}) for number in range(TASKS)]
    assert r.xlen(STREAM) == TASKS and ids == sorted(ids, key=lambda i: tuple(map(int, i.split("-"))))

    def start(name, dies_at):
        return subprocess.Popen([sys.executable, __file__, "--worker", name, str(dies_at), *ports])

    mortal = [start("first", 10), start("second", 20)]
    assert [worker.wait(timeout=60) for worker in mortal] == [DEAD, DEAD]
    pending = r.xpending(STREAM, GROUP)
    assert pending["pending"] == 2, pending
    assert {owner["name"] for owner in pending["consumers"]} == {"first", "second"}

    immortal = [start("third", 0), start("fourth", 0)]
    assert [worker.wait(timeout=60) for worker in immortal] == [0, 0]
    assert r.xpending(STREAM, GROUP)["pending"] == 0
    assert r.hgetall(RESULTS) == {str(number): str(number**2) for number in range(TASKS)}
    (group,) = r.xinfo_groups(STREAM)
    assert (group["consumers"], group["pending"], group["lag"]) == (4, 0, 0), group
    assert {c["name"] for c in r.xinfo_consumers(STREAM, GROUP)} == {"first", "second", "third", "fourth"}
    assert r.xtrim(STREAM, maxlen=0, approximate=False) == TASKS


if __name__ == "__main__":
    if sys.argv[1] == "--worker":
        work(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    else:
        main(sys.argv[1:])
