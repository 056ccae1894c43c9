"""What applications do all day, by redis-py's own calls, on a cluster: a leaderboard, rate limiters, a search for
places, and every type once.

Usage: everyday.py PORT …
"""

import sys
import time

from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ResponseError


def leaderboard(r):
    board = "{game}:board"
    assert r.zadd(board, {f"player:{n}": n * 10 for n in range(1000)}) == 1000
    assert r.zincrby(board, 5, "player:999") == 9995.0
    assert r.zrevrange(board, 0, 2, withscores=True) == [
        ("player:999", 9995.0),
        ("player:998", 9980.0),
        ("player:997", 9970.0),
    ]
    assert r.zrevrank(board, "player:0") == 999
    rank, score = r.zrank(board, "player:7", withscore=True)
    assert (rank, float(score)) == (7, 70.0)
    # Those around a player.
    rank = r.zrevrank(board, "player:500")
    assert r.zrange(board, rank - 1, rank + 1, desc=True) == ["player:501", "player:500", "player:499"]
    assert r.zcount(board, "(100", 200) == 10
    assert r.zrange(board, "inf", 9960, desc=True, byscore=True, offset=0, num=2) == ["player:999", "player:998"]
    r.zadd("{game}:friends", {"player:1": 0, "player:2": 0, "nobody": 0})
    assert r.zinter([board, "{game}:friends"], withscores=True) == [("player:1", 10.0), ("player:2", 20.0)]
    assert r.zunionstore("{game}:all", [board, "{game}:friends"]) == 1001
    assert r.zpopmax(board) == [("player:999", 9995.0)]
    assert r.zremrangebyrank(board, 0, -101) == 899 and r.zcard(board) == 100


def rate_limiter(r):
    # Fixed windows: a counter that goes away.
    def allowed(user, most):
        with r.pipeline(transaction=False) as pipe:
            key = f"{{{user}}}:window"
            count, _ = pipe.incr(key).expire(key, 100, nx=True).execute()
        return count <= most

    assert [allowed("alice", 3) for _ in range(5)] == [True, True, True, False, False]
    assert 90 < r.ttl("{alice}:window") <= 100

    # A sliding window: a sorted set of moments, kept by a script.
    sliding = r.register_script(
        """
        local now, window, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
        if redis.call('ZCARD', KEYS[1]) >= most then return 0 end
        redis.call('ZADD', KEYS[1], now, ARGV[4])
        redis.call('PEXPIRE', KEYS[1], window)
        return 1
        """
    )
    verdicts = [sliding(keys=["{bob}:moments"], args=[n * 100, 1000, 4, f"call {n}"]) for n in range(16)]
    assert verdicts == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0], verdicts


def places(r):
    key = "{italy}:places"
    cities = {
        "Palermo": (13.361389, 38.115556),
        "Catania": (15.087269, 37.502669),
        "Agrigento": (13.583333, 37.316667),
        "Roma": (12.496366, 41.902782),
    }
    values = [part for name, (lon, lat) in cities.items() for part in (lon, lat, name)]
    assert r.geoadd(key, values) == 4
    assert abs(r.geodist(key, "Palermo", "Catania", unit="km") - 166.2742) < 0.001
    assert r.geohash(key, "Palermo") == ["sqc8b49rny0"]
    lon, lat = r.geopos(key, "Roma")[0]
    assert abs(lon - 12.496366) < 1e-5 and abs(lat - 41.902782) < 1e-5
    near = r.geosearch(key, longitude=15, latitude=37, radius=200, unit="km", sort="ASC", withdist=True)
    assert [name for name, _ in near] == ["Catania", "Agrigento", "Palermo"], near
    box = r.geosearch(key, member="Roma", width=100, height=1200, unit="km")
    assert box == ["Roma"], box
    assert r.geosearchstore("{italy}:near", key, member="Palermo", radius=300, unit="km", storedist=True) == 3
    assert [tuple(place) for place in r.zrange("{italy}:near", 0, 0, withscores=True)] == [("Palermo", 0.0)]


def every_type(r):
    assert r.set("string", "value", ex=100, nx=True) and r.set("string", "other", nx=True) is None
    assert r.set("string", "new", get=True, keepttl=True) == "value" and r.ttl("string") > 90
    assert r.getex("string", persist=True) == "new" and r.ttl("string") == -1
    assert r.mset_nonatomic({f"key:{n}": n for n in range(50)})
    assert r.mget_nonatomic(f"key:{n}" for n in range(50)) == [str(n) for n in range(50)]
    assert r.incrbyfloat("float", 0.1) == 0.1 and r.incrbyfloat("float", 0.2) == 0.3
    assert r.setbit("bits", 7, 1) == 0 and r.bitcount("bits") == 1 and r.bitpos("bits", 1) == 7
    assert r.bitfield("fields").set("u8", 0, 200).incrby("u8", 0, 100, overflow="SAT").execute() == [0, 255]
    assert r.pfadd("visitors", *(f"visitor {n}" for n in range(1000))) == 1
    assert abs(r.pfcount("visitors") - 1000) < 30
    assert r.rpush("list", *range(10)) == 10 and r.lpop("list", 2) == ["0", "1"]
    assert r.lmove("list", "list", "LEFT", "RIGHT") == "2" and r.lpos("list", "2") == 7
    assert tuple(r.blpop("list", timeout=1)) == ("list", "3")
    assert r.hset("hash", mapping={"a": 1, "b": 2}) == 2 and r.hincrby("hash", "a", 5) == 6
    assert r.hgetall("hash") == {"a": "6", "b": "2"} and dict(r.hscan_iter("hash")) == {"a": "6", "b": "2"}
    assert r.hexpire("hash", 100, "a") == [1] and r.httl("hash", "a", "b")[1] == -1
    assert r.sadd("{s}1", *range(20)) == 20 and r.sadd("{s}2", 5, 6, 700) == 3
    assert r.sinter("{s}1", "{s}2") == {"5", "6"} and r.sintercard(2, ["{s}1", "{s}2"]) == 2
    assert set(r.sscan_iter("{s}1")) == {str(n) for n in range(20)}
    assert r.sort("{s}2", desc=True) == ["700", "6", "5"]
    assert len(set(r.scan_iter(match="key:*", count=10))) == 50
    payload_source = RedisCluster(startup_nodes=r.startup, decode_responses=False)
    assert r.restore("{hash}copy", 0, payload_source.dump("{s}1")) and r.scard("{hash}copy") == 20
    assert r.copy("{s}1", "{s}3") and r.object("ENCODING", "{s}3") == "intset"
    assert r.delete(*(f"key:{n}" for n in range(50))) == 50
    try:
        r.lpush("string", "x")
        raise AssertionError("a wrong type is told")
    except ResponseError as error:
        assert str(error).startswith("WRONGTYPE") or "wrong kind of value" in str(error)


def main(ports):
    nodes = [ClusterNode("127.0.0.1", int(port)) for port in ports]
    for protocol in (2, 3):
        r = RedisCluster(startup_nodes=nodes, decode_responses=True, protocol=protocol)
        r.startup = nodes
        if protocol == 2:
            leaderboard(r)
        for part in (rate_limiter, places, every_type):
            started = time.monotonic()
            r.flushall(target_nodes=RedisCluster.PRIMARIES)
            part(r)
            print(f"RESP{protocol} {part.__name__}: {time.monotonic() - started:.2f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
