// ioredis on a cluster: pipelines, transactions, scripts, scans, messages, and a master that dies while it writes.
//
// Usage: ioredis_cluster.js PORT …
"use strict";

const assert = require("node:assert/strict");
const { Cluster } = require("ioredis");
const { failover, main, ports, until } = require("./common.js");

const nodes = ports.map((port) => ({ host: "127.0.0.1", port }));
const connect = (options) => new Cluster(nodes, { slotsRefreshTimeout: 10_000, ...options });
let r;

async function pipelines() {
  const pipe = r.pipeline();
  for (let n = 0; n < 500; n++) pipe.set(`{pipe}:${n}`, n).incr(`{pipe}:${n}`);
  const replies = await pipe.exec();
  assert.deepEqual(replies.slice(0, 4), [[null, "OK"], [null, 1], [null, "OK"], [null, 2]]);
  assert.equal(replies.length, 1000);
  // An error is one reply among the others.
  const mixed = await r.pipeline().set("{pipe}:text", "x").incr("{pipe}:text").get("{pipe}:text").exec();
  assert.match(mixed[1][0].message, /^ERR value is not an integer/);
  assert.deepEqual(mixed[2], [null, "x"]);
  // What is asked for in one turn goes out in one pipeline per node.
  const auto = connect({ enableAutoPipelining: true });
  const values = await Promise.all(Array.from({ length: 500 }, (_, n) => auto.incrby(`auto:${n}`, n)));
  assert.deepEqual(values, Array.from({ length: 500 }, (_, n) => n));
  auto.disconnect();
}

async function transactions() {
  assert.deepEqual(await r.multi().set("{t}:a", 1).incr("{t}:a").lpush("{t}:l", "x", "y").exec(), [
    [null, "OK"],
    [null, 2],
    [null, 2],
  ]);
  const failed = await r.multi().set("{t}:a", "text").incr("{t}:a").exec();
  assert.equal(failed[0][1], "OK");
  assert.match(failed[1][0].message, /not an integer/);
  await assert.rejects(r.multi().set("{t}:a", 1).call("nosuch", "{t}:a").exec(), /EXECABORT/);
  assert.equal(await r.get("{t}:a"), "text");
  // Many at once on one key.
  const all = await Promise.all(
    Array.from({ length: 100 }, () => r.multi().incr("{t}:n").rpush("{t}:r", "x").exec()),
  );
  assert.equal(new Set(all.map((replies) => replies[0][1])).size, 100);
  assert.equal(await r.llen("{t}:r"), 100);
}

async function scripts() {
  r.defineCommand("addAndTell", {
    numberOfKeys: 2,
    lua: `
      local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
      redis.call('RPUSH', KEYS[2], sum)
      return {sum, redis.call('LRANGE', KEYS[2], 0, -1), ARGV[2]}`,
  });
  assert.deepEqual(await r.addAndTell("{s}:sum", "{s}:all", 5, "é"), [5, ["5"], "é"]);
  // The script's cache is lost: NOSCRIPT, and the script is sent again.
  await Promise.all(r.nodes("master").map((node) => node.script("FLUSH")));
  assert.deepEqual(await r.addAndTell("{s}:sum", "{s}:all", 2, "x"), [7, ["5", "7"], "x"]);
  const replies = await r.pipeline().addAndTell("{s}:sum", "{s}:all", 1, "x").get("{s}:sum").exec();
  assert.deepEqual(replies, [[null, [8, ["5", "7", "8"], "x"]], [null, "8"]]);
  await assert.rejects(r.eval("return redis.call('INCR', KEYS[1])", 1, "{s}:all"), /WRONGTYPE/);
  await assert.rejects(r.eval("return {err='MINE of my own'}", 1, "{s}:all"), /^.*MINE of my own/);
}

async function scans() {
  await Promise.all(Array.from({ length: 600 }, (_, n) => r.set(`scan:${n}`, n)));
  const found = new Set();
  for (const node of r.nodes("master")) {
    for await (const keys of node.scanStream({ match: "scan:*", count: 50 })) keys.forEach((key) => found.add(key));
  }
  assert.equal(found.size, 600);
  const fields = Array.from({ length: 1500 }, (_, n) => `f${n}`);
  await r.hset("hash", ...fields.flatMap((field) => [field, "v"]));
  await r.sadd("set", ...fields);
  await r.zadd("zset", ...fields.flatMap((field, n) => [n, field]));
  const count = async (stream, step) => {
    const seen = new Set();
    for await (const part of stream) for (let i = 0; i < part.length; i += step) seen.add(part[i]);
    return seen.size;
  };
  assert.equal(await count(r.hscanStream("hash", { count: 100 }), 2), 1500);
  assert.equal(await count(r.sscanStream("set", { match: "f1*" }), 1), 611);
  assert.equal(await count(r.zscanStream("zset"), 2), 1500);
}

async function blocking() {
  const waiter = connect();
  const popped = waiter.blpop("{b}:1", "{b}:2", 60);
  const moved = connect();
  const move = moved.blmove("{b}:from", "{b}:to", "LEFT", "RIGHT", 60);
  await until("both wait", async () => {
    const all = await Promise.all(r.nodes("master").map((node) => node.info("clients")));
    return all.reduce((sum, text) => sum + Number(/^blocked_clients:(\d+)/m.exec(text)[1]), 0) === 2;
  });
  await r.rpush("{b}:2", "x");
  await r.rpush("{b}:from", "y");
  assert.deepEqual(await popped, ["{b}:2", "x"]);
  assert.equal(await move, "y");
  waiter.disconnect();
  moved.disconnect();
}

async function messages() {
  const subscriber = connect({ shardedSubscribers: true });
  const seen = { message: [], pmessage: [], smessage: [] };
  subscriber.on("message", (channel, text) => seen.message.push([channel, text]));
  subscriber.on("pmessage", (pattern, channel, text) => seen.pmessage.push([pattern, channel, text]));
  subscriber.on("smessage", (channel, text) => seen.smessage.push([channel, text]));
  await subscriber.subscribe("news", "weather");
  await subscriber.psubscribe("n?ws");
  const channels = ["shard:a", "shard:b", "shard:c", "shard:d"];
  for (const channel of channels) await subscriber.ssubscribe(channel);
  for (let n = 0; n < 100; n++) {
    await r.publish("news", n);
    await Promise.all(channels.map((channel) => r.spublish(channel, n)));
  }
  const whole = () => seen.message.length >= 100 && seen.pmessage.length >= 100 && seen.smessage.length >= 400;
  await until("all messages", whole);
  const numbers = Array.from({ length: 100 }, (_, n) => `${n}`);
  // They were published at any node, so they come in any order.
  const inOrder = (list) => list.sort((one, other) => one.at(-1) - other.at(-1));
  assert.deepEqual(inOrder(seen.message), numbers.map((n) => ["news", n]));
  assert.deepEqual(inOrder(seen.pmessage), numbers.map((n) => ["n?ws", "news", n]));
  for (const channel of channels) {
    assert.deepEqual(seen.smessage.filter(([c]) => c === channel).map(([, n]) => n), numbers);
  }
  await subscriber.sunsubscribe("shard:a");
  assert.equal(await r.spublish("shard:a", "x"), 0);
  subscriber.disconnect();
}

async function replicas() {
  const reader = connect({ scaleReads: "slave" });
  await r.set("read", "there");
  await until("the replica has it", async () => (await reader.get("read")) === "there");
  const values = await Promise.all(Array.from({ length: 200 }, () => reader.get("read")));
  assert(values.every((value) => value === "there"));
  reader.disconnect();
}

async function masterDies() {
  const writer = connect({ retryDelayOnFailover: 100, clusterRetryStrategy: () => 100, maxRedirections: 600 });
  await failover({
    cluster: (...words) => r.cluster(...words),
    // It waits for a master by itself.
    write: async (key, text) => (await writer.set(key, text)) === "OK",
    read: (key) => writer.get(key),
  });
  writer.disconnect();
}

async function ready() {
  r = connect();
  await until("connected", () => r.status === "ready");
}

main([ready, pipelines, transactions, scripts, scans, blocking, messages, replicas, masterDies]);
