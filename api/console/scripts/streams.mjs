// Compare the reducer with thread/read over each recording of a folder (tests/support/streams.py), and save in a second
// folder, if there is one, the few of them that together have each kind of event.
//
//     node api/console/scripts/streams.mjs FOLDER [KEPT]
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createServer } from "vite";

const [folder, kept] = process.argv.slice(2);
const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const vite = await createServer({ root, server: { middlewareMode: true, ws: false, watch: null }, logLevel: "warn" });
const { differences } = await vite.ssrLoadModule("/src/state/recording.ts");
await vite.close();

const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
const recordings = names.map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
let unlike = 0;
for (const [index, recording] of recordings.entries()) {
  const found = differences(recording);
  if (found.length === 0) continue;
  unlike += 1;
  console.log(`${names[index]} (${recording.test})\n  ${found.join("\n  ")}`);
}
const events = recordings.reduce((sum, one) => sum + one.events.length, 0);
console.log(`${recordings.length} streams with ${events} events: ${unlike} differ from thread/read`);
if (kept) keep();
process.exit(recordings.length === 0 || unlike > 0 ? 1 : 0);

/** Return the kinds of what happens in a recording. */
function kindsOf({ events, session }) {
  const kinds = events.map(({ method, id, params: { item, turn, status } }) =>
    [method, id === undefined ? "" : "asks", item?.type, item?.status, turn?.status, status?.type, ...(status?.activeFlags ?? [])].join(" "),
  );
  return new Set(session.thread.turns.length > 0 ? [...kinds, "begins with turns"] : kinds);
}

function keep() {
  rmSync(kept, { recursive: true, force: true });
  mkdirSync(kept, { recursive: true });
  const left = new Set(recordings.flatMap((one) => [...kindsOf(one)]));
  while (left.size > 0) {
    const worth = (one) => [...kindsOf(one)].filter((kind) => left.has(kind)).length / Math.sqrt(JSON.stringify(one).length);
    const best = recordings.reduce((one, other) => (worth(other) > worth(one) ? other : one));
    for (const kind of kindsOf(best)) left.delete(kind);
    const { test, ...recording } = best;
    const name = /::test_(\w+)/.exec(test)[1];
    const members = Object.entries(recording).map(([member, value]) => `"${member}": ${lines(value)}`);
    writeFileSync(join(kept, `${name}.json`), `{${nowhere(members.join(",\n"))}}\n`);
  }
}

/** Return JSON with a line for each event. */
function lines(value) {
  return Array.isArray(value) ? `[\n${value.map((one) => JSON.stringify(one)).join(",\n")}]` : JSON.stringify(value);
}

/** Replace the folders of the machine that made a recording. */
function nowhere(text) {
  return text.replace(/\/tmp\/pytest-of-[^/"]+\/pytest-\d+\/(?:popen-gw\d+\/)?[^/"\\ ]+/g, "/home/server");
}
