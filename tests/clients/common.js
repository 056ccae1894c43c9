// What the scripts of the JavaScript clients have in common.
"use strict";

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

module.exports = { main, order, sleep, until, ports: process.argv.slice(2).map(Number) };
