// node-redis on a cluster: pipelines, transactions, scripts, scans, messages, client-side caching, and a master that
// dies while it writes.
//
// Usage: node_redis_cluster.js PORT …
"use strict";

const assert = require("node:assert/strict");
const { BasicPooledClientSideCache, createCluster, defineScript } = require("redis");
const { failover, main, ports, until } = require("./common.js");

const addAndTell = defineScript({
  NUMBER_OF_KEYS: 2,
  SCRIPT: `
    local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
    redis.call('RPUSH', KEYS[2], sum)
    return {sum, redis.call('LRANGE', KEYS[2], 0, -1)}`,
  parseCommand(parser, sum, all, by) {
    parser.pushKeys([sum, all]);
    parser.push(`${by}`);
  },
  transformReply: (reply) => reply,
});

async function connect(options) {
  const cluster = createCluster({
    rootNodes: ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })),
    scripts: { addAndTell },
    ...options,
  });
  cluster.on("error", () => {});
  await cluster.connect();
  return cluster;
}

let r;
const masters = () => Promise.all(r.masters.map((node) => r.nodeClient(node)));

async function pipelines() {
  const values = await Promise.all(Array.from({ length: 1000 }, (_, n) => r.incrBy(`pipe:${n}`, n)));
  assert.deepEqual(values, Array.from({ length: 1000 }, (_, n) => n));
  const settled = await Promise.allSettled([
    r.set("{pipe}:text", "x"),
    r.incr("{pipe}:text"),
    r.get("{pipe}:text"),
  ]);
  assert.match(settled[1].reason.message, /^ERR value is not an integer/);
  assert.equal(settled[2].value, "x");
  const replies = await r.multi().set("{pipe}:a", 1).get("{pipe}:a").execAsPipeline();
  assert.deepEqual(replies, ["OK", "1"]);
}

async function transactions() {
  const replies = await r.multi().set("{t}:a", 1).incr("{t}:a").hSet("{t}:h", { x: 1, y: 2 }).hGetAll("{t}:h").exec();
  assert.deepEqual([...replies.slice(0, 3), { ...replies[3] }], ["OK", 2, 2, { x: "1", y: "2" }]);
  const all = await Promise.all(Array.from({ length: 100 }, () => r.multi().incr("{t}:n").rPush("{t}:r", "x").exec()));
  assert.equal(new Set(all.map(([n]) => n)).size, 100);
  // WATCH, on the connection of the key's node.
  const one = await (await r.getNodeClientForKey("{t}:w", false)).duplicate().connect();
  await one.watch("{t}:w");
  await r.set("{t}:w", "touched");
  await assert.rejects(one.multi().set("{t}:w", "mine").exec(), /watched/i);
  await one.watch("{t}:w");
  assert.deepEqual(await one.multi().set("{t}:w", "mine").exec(), ["OK"]);
  one.destroy();
}

async function scripts() {
  assert.deepEqual(await r.addAndTell("{s}:sum", "{s}:all", 5), [5, ["5"]]);
  for (const node of await masters()) await node.scriptFlush();
  assert.deepEqual(await r.addAndTell("{s}:sum", "{s}:all", 2), [7, ["5", "7"]]);
  assert.deepEqual(await r.multi().addAndTell("{s}:sum", "{s}:all", 1).get("{s}:sum").exec(), [[8, ["5", "7", "8"]], "8"]);
  await assert.rejects(r.eval("return redis.call('INCR', KEYS[1])", { keys: ["{s}:all"] }), /WRONGTYPE/);
}

async function scans() {
  await Promise.all(Array.from({ length: 600 }, (_, n) => r.set(`scan:${n}`, n)));
  const found = new Set();
  for (const node of await masters()) {
    for await (const keys of node.scanIterator({ MATCH: "scan:*", COUNT: 50 })) keys.forEach((key) => found.add(key));
  }
  assert.equal(found.size, 600);
  const members = Array.from({ length: 1500 }, (_, n) => `m${n}`);
  await r.sAdd("set", members);
  await r.zAdd("zset", members.map((value, score) => ({ value, score })));
  const node = await r.getNodeClientForKey("set", true);
  const seen = new Set();
  for await (const part of node.sScanIterator("set")) part.forEach((member) => seen.add(member));
  assert.equal(seen.size, 1500);
  assert.deepEqual(await r.zRangeWithScores("zset", 0, 0), [{ value: "m0", score: 0 }]);
}

async function messages() {
  const subscriber = await connect();
  const seen = { plain: [], pattern: [], shard: { a: [], b: [], c: [] } };
  await subscriber.subscribe("news", (text) => seen.plain.push(text));
  await subscriber.pSubscribe("n?ws", (text, channel) => seen.pattern.push([channel, text]));
  for (const name of Object.keys(seen.shard)) {
    await subscriber.sSubscribe(`shard:${name}`, (text) => seen.shard[name].push(text));
  }
  for (let n = 0; n < 100; n++) {
    await r.publish("news", `${n}`);
    await Promise.all(Object.keys(seen.shard).map((name) => r.sPublish(`shard:${name}`, `${n}`)));
  }
  const lists = [seen.plain, seen.pattern, ...Object.values(seen.shard)];
  await until("all messages", () => lists.every((list) => list.length >= 100));
  const numbers = Array.from({ length: 100 }, (_, n) => `${n}`);
  // They were published at any node, so they come in any order.
  const inOrder = (list) => list.sort((one, other) => one - other);
  assert.deepEqual(inOrder(seen.plain), numbers);
  assert.deepEqual(inOrder(seen.pattern.map(([, text]) => text)), numbers);
  for (const list of Object.values(seen.shard)) assert.deepEqual(list, numbers);
  await subscriber.sUnsubscribe("shard:a");
  assert.equal(await r.sPublish("shard:a", "x"), 0);
  subscriber.destroy();
}

/** A client that keeps what it has read hears when another changes it. */
async function caching() {
  const cache = new BasicPooledClientSideCache({ ttl: 0, maxEntries: 0, evictPolicy: "LRU" });
  const reader = await connect({ RESP: 3, clientSideCache: cache });
  for (let n = 0; n < 30; n++) await r.set(`cached:${n}`, "old");
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 30; n++) assert.equal(await reader.get(`cached:${n}`), "old");
  }
  assert(cache.stats().hitCount >= 60, JSON.stringify(cache.stats()));
  for (let n = 0; n < 30; n++) await r.set(`cached:${n}`, "new");
  await until("it has heard of all", async () => {
    const values = await Promise.all(Array.from({ length: 30 }, (_, n) => reader.get(`cached:${n}`)));
    return values.every((value) => value === "new");
  });
  reader.destroy();
}

async function masterDies() {
  const writer = await connect();
  await failover({
    cluster: (...words) => r.sendCommand(undefined, true, ["CLUSTER", ...words]),
    // While there is no master, an error is what the client gives.
    write: (key, text) => writer.set(key, text).then(() => true, () => false),
    read: (key) => writer.get(key),
  });
  writer.destroy();
}

async function ready() {
  r = await connect();
}

main([ready, pipelines, transactions, scripts, scans, messages, caching, masterDies]);
