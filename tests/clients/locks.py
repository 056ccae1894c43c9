"""Clients that want the same at once: redis-py's locks and its transactions with WATCH, on one node and on a cluster.

Usage: locks.py PORT PORT …   The first is a node by itself, the others are a cluster.
"""

import sys
import threading
import time

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import LockError, LockNotOwnedError, WatchError

THREADS = 8
TURNS = 25
PATIENCE_S = 60


def together(work):
    """Runs `work(number)` in every thread; what one of them raises is raised here."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def a_lock_keeps_others_out(connect):
    r = connect()
    r.set("{guarded}:count", 0)
    inside = []

    def work(number):
        own = connect()
        for _ in range(TURNS):
            with own.lock("{guarded}:lock", timeout=PATIENCE_S, sleep=0.001, blocking_timeout=PATIENCE_S):
                inside.append(number)
                # Read and written apart: whoever came between them would be lost.
                own.set("{guarded}:count", int(own.get("{guarded}:count")) + 1)
                assert inside == [number], inside
                inside.pop()

    together(work)
    assert int(r.get("{guarded}:count")) == THREADS * TURNS
    assert r.exists("{guarded}:lock") == 0


def a_lock_ends_and_is_lost(connect):
    r = connect()
    lock, other = r.lock("lock", timeout=PATIENCE_S), r.lock("lock", timeout=PATIENCE_S, blocking=False)
    assert lock.acquire() and lock.owned() and lock.locked()
    assert not other.acquire() and not other.owned()
    assert lock.extend(PATIENCE_S) and r.pttl("lock") > PATIENCE_S * 1000
    assert lock.extend(PATIENCE_S, replace_ttl=True) and r.pttl("lock") <= PATIENCE_S * 1000
    assert lock.reacquire()
    # Its time is up, another has it.
    r.pexpire("lock", 1)
    waits_until(lambda: r.exists("lock") == 0)
    assert other.acquire()
    for call in (lock.reacquire, lambda: lock.extend(1), lock.release):
        try:
            call()
            raise AssertionError("a lock that is another's is not given up")
        except LockNotOwnedError:
            pass
    assert other.owned()
    other.release()
    try:
        other.release()
        raise AssertionError("a lock is given up once")
    except LockError:
        pass


def waits_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def transactions_do_not_lose_each_other(connect):
    """Money goes from account to account, by transactions that begin again when another was faster."""
    r = connect()
    accounts = [f"account:{n}" for n in range(4)]
    r.mset({account: 1000 for account in accounts})

    def work(number):
        own = connect()
        for turn in range(TURNS):
            source, target = accounts[(number + turn) % 4], accounts[(number + 3 * turn + 1) % 4]

            def transfer(pipe):
                has, gets = int(pipe.get(source)), int(pipe.get(target))
                pipe.multi()
                if source != target:
                    pipe.set(source, has - 1)
                    pipe.set(target, gets + 1)
                pipe.rpush("transfers", f"{number}:{turn}")

            own.transaction(transfer, source, target)

    together(work)
    assert sum(map(int, r.mget(accounts))) == 4000
    transfers = r.lrange("transfers", 0, -1)
    assert len(transfers) == len(set(transfers)) == THREADS * TURNS


def a_watched_key_that_was_touched_ends_the_transaction(connect):
    r, other = connect(), connect()
    touches = [
        lambda: other.set("watched", "again"),
        lambda: other.set("watched", "again"),
        lambda: other.delete("watched"),
        lambda: other.append("watched", "more"),
        lambda: other.expire("watched", 100),
        lambda: other.rename("watched", "elsewhere"),
        lambda: other.flushall(),
    ]
    for touch in touches:
        r.delete("watched")
        r.set("watched", "value")
        with r.pipeline() as pipe:
            pipe.watch("watched")
            touch()
            pipe.multi()
            pipe.set("done", 1)
            try:
                pipe.execute()
                raise AssertionError("a touched key is noticed")
            except WatchError:
                pass
        assert r.get("done") is None
    with r.pipeline() as pipe:
        pipe.watch("watched", "other")
        assert pipe.get("watched") is None
        pipe.unwatch()
        other.set("watched", 1)
        pipe.multi()
        assert pipe.set("done", 1).incr("watched").execute() == [True, 2]


def main(single, ports):
    def alone():
        return redis.Redis(port=int(single), decode_responses=True)

    def cluster():
        nodes = [ClusterNode("127.0.0.1", int(port)) for port in ports]
        return RedisCluster(startup_nodes=nodes, decode_responses=True)

    for part, connect in [
        (a_lock_keeps_others_out, alone),
        (a_lock_keeps_others_out, cluster),
        (a_lock_ends_and_is_lost, alone),
        (a_lock_ends_and_is_lost, cluster),
        (transactions_do_not_lose_each_other, alone),
        (a_watched_key_that_was_touched_ends_the_transaction, alone),
    ]:
        started = time.monotonic()
        part(connect)
        print(f"{part.__name__} ({connect.__name__}): {time.monotonic() - started:.2f} s")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
