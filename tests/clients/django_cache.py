"""The cache of Django by django-redis: on one node, and on a cluster by redis-py's client.

Usage: django_cache.py PORT PORT …   The first is a node by itself, the others are a cluster.
"""

import sys
import threading
import time

import django
from django.conf import settings
from django_redis.pool import ConnectionFactory
from redis.cluster import RedisCluster

PATIENCE_S = 60


class ClusterFactory(ConnectionFactory):
    """Gives django-redis a client of the cluster, which has pools of its own."""

    def connect(self, url):
        return RedisCluster.from_url(url)

    def disconnect(self, connection):
        connection.close()


def configure(single, member):
    options = {"CLIENT_CLASS": "django_redis.client.DefaultClient"}
    cache = {"BACKEND": "django_redis.cache.RedisCache", "KEY_PREFIX": "site"}
    settings.configure(
        CACHES={
            "default": {**cache, "LOCATION": f"redis://127.0.0.1:{single}/1", "OPTIONS": options},
            "cluster": {**cache, "LOCATION": f"redis://127.0.0.1:{member}/0", "OPTIONS": options},
            "json": {
                **cache,
                "LOCATION": f"redis://127.0.0.1:{single}/2",
                "OPTIONS": {
                    **options,
                    "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
                    "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor",
                },
            },
        },
        DJANGO_REDIS_CONNECTION_FACTORY="django_redis.pool.ConnectionFactory",
    )
    settings.CACHES["cluster"]["OPTIONS"] = {**options, "CONNECTION_FACTORY": "__main__.ClusterFactory"}
    django.setup()


def values(cache):
    assert cache.set("greeting", {"text": "hello", "times": [1, 2, 3]}, timeout=100)
    assert cache.get("greeting") == {"text": "hello", "times": [1, 2, 3]}
    assert cache.get("nothing") is None and cache.get("nothing", "else") == "else"
    assert cache.add("once", 1) and not cache.add("once", 2) and cache.get("once") == 1
    assert cache.has_key("once") and "nothing" not in cache
    made = []
    for _ in range(3):
        assert cache.get_or_set("made", lambda: made.append(1) or "value", timeout=100) == "value"
    assert made == [1]
    assert cache.set("big", "x" * 1_000_000) and len(cache.get("big")) == 1_000_000
    assert cache.delete("big") and not cache.delete("big")
    assert cache.set("kept", 1, nx=True) and not cache.set("kept", 2, nx=True)


def counters(cache):
    cache.set("counter", 10)
    assert cache.incr("counter") == 11 and cache.incr("counter", 5) == 16 and cache.decr("counter", 6) == 10
    for call in (lambda: cache.incr("no counter"), lambda: cache.decr("no counter")):
        try:
            call()
            raise AssertionError("what is not there is not counted")
        except ValueError:
            pass
    # It keeps its time to live.
    cache.set("counter", 1, timeout=100)
    assert cache.incr("counter") == 2 and 0 < cache.ttl("counter") <= 100
    threads = [threading.Thread(target=lambda: [cache.incr("counter") for _ in range(50)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get("counter") == 302


def timeouts(cache):
    cache.set("forever", 1, timeout=None)
    assert cache.ttl("forever") is None and cache.ttl("nothing") == 0
    cache.set("at once", 1, timeout=0)
    assert cache.get("at once") is None
    cache.set("short", 1, timeout=100)
    assert 0 < cache.ttl("short") <= 100 and 0 < cache.pttl("short") <= 100_000
    assert cache.expire("short", 500) and cache.ttl("short") > 100
    assert cache.persist("short") and cache.ttl("short") is None
    assert cache.touch("short", 50) and 0 < cache.ttl("short") <= 50
    assert cache.pexpire("short", 20)
    deadline = time.monotonic() + PATIENCE_S
    while cache.get("short") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert not cache.touch("short", 50)


def patterns(cache):
    for n in range(200):
        cache.set(f"page:{n}", n)
    cache.set("page:*", "no pattern of its own")
    assert len(list(cache.iter_keys("page:*"))) == 201
    assert sorted(cache.iter_keys("page:1[01]")) == ["page:10", "page:11"]
    assert cache.delete_pattern("page:1*", itersize=10) == 111
    assert cache.get("page:1") is None and cache.get("page:2") == 2
    assert cache.delete_pattern("page:*") == 90 and not list(cache.iter_keys("page:*"))
    assert cache.get("greeting") is not None


def many(cache):
    assert not cache.set_many({f"{{many}}:{n}": n for n in range(100)}, timeout=100)
    assert cache.get_many([f"{{many}}:{n}" for n in range(110)]) == {f"{{many}}:{n}": n for n in range(100)}
    assert cache.delete_many([f"{{many}}:{n}" for n in range(110)]) == 100


def locks(cache):
    inside, count = [], [0]

    def work(number):
        for _ in range(10):
            with cache.lock("{lock}", timeout=PATIENCE_S, sleep=0.002, blocking_timeout=PATIENCE_S):
                inside.append(number)
                count[0] += 1
                assert inside == [number]
                inside.pop()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == [40] and cache.get("{lock}") is None


def structures(cache):
    assert cache.sadd("set", "a", "b", "c") == 3 and cache.smembers("set") == {"a", "b", "c"}
    assert cache.hset("hash", "field", 5) == 1 and cache.hexists("hash", "field")
    assert cache.hkeys("hash") == ["field"] and cache.hlen("hash") == 1


def main(single, ports):
    configure(single, ports[0])
    from django.core.cache import caches

    for name, parts in [
        ("default", [values, counters, timeouts, patterns, many, locks, structures]),
        ("json", [values, counters, timeouts, patterns, many]),
        ("cluster", [values, counters, timeouts, patterns, locks, structures]),
    ]:
        cache = caches[name]
        for part in parts:
            started = time.monotonic()
            part(cache)
            print(f"{name} {part.__name__}: {time.monotonic() - started:.2f} s")
        if name != "cluster":
            cache.clear()
            assert cache.keys("*") == []


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
