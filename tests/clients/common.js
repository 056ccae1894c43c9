// What the scripts of the JavaScript clients have in common.
"use strict";

const assert = require("node:assert/strict");

const PATIENCE_MS = 60_000;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls until the condition holds. */
async function until(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await sleep(10);
  }
}

/** Asks whoever started this script to kill the node on this port, or to start it again. */
const order = (what, port) => console.log(`> ${what} ${port}`);

/**
 * The master of a key is killed while eight writers write; all of them go on at its replica, which has the last each wrote.
 *
 * `cluster` sends a command of the CLUSTER family to any node. `write` resolves to false where the client gives up: it is
 * tried again.
 */
async function failover({ cluster, write, read }) {
  const key = (n) => `{failover}:${n}`;
  const slot = Number(await cluster("KEYSLOT", key(0)));
  const owner = async () => {
    const ranges = await cluster("SLOTS");
    return Number(ranges.find(([first, last]) => first <= slot && slot <= last)[2][1]);
  };
  const master = await owner();
  const written = new Map();
  let ended = false;
  const keepWriting = async (own) => {
    for (let n = 0; !ended; n++) {
      const done = await write(key(own), `${n}`);
      if (done) written.set(own, n);
      await sleep(done ? 1 : 50);
    }
  };
  const writers = Promise.all(Array.from({ length: 8 }, (_, own) => keepWriting(own)));
  const all = (least) => until("the writers go on", () =>
    written.size === 8 && [...written.values()].every((n) => n >= least));
  await all(50);
  order("kill", master);
  await until("another has the slot", async () => (await owner().catch(() => master)) !== master);
  await all(Math.max(...written.values()) + 50);
  ended = true;
  await writers;
  for (const [own, n] of written) assert.equal(await read(key(own)), `${n}`);
  order("start", master);
}

/** Runs the parts one after the other; the process ends with an error when one fails. */
async function main(parts) {
  try {
    for (const part of parts) {
      const started = Date.now();
      await part();
      console.log(`${part.name}: ${Date.now() - started} ms`);
    }
    process.exit(0);
  } catch (error) {
    console.log(error);
    process.exit(1);
  }
}

module.exports = { failover, main, until, ports: process.argv.slice(2).map(Number) };
