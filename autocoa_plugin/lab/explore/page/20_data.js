// The data in this file: the index at once, records and the text for searching only when they are needed.

const index = readIndex();
const rows = index.rows;
const KEPT_RECORDS = 48;
const records = new Map(); // n -> promise, oldest first

const groups = new Map(); // group_key -> [n of its samples]
for (const row of rows) {
  if (!groups.has(row.group_key)) groups.set(row.group_key, []);
  groups.get(row.group_key).push(row.n);
}
for (const members of groups.values()) members.sort((a, b) => rows[a].sample - rows[b].sample || a - b);

function readIndex() {
  try {
    return JSON.parse(byId("index").textContent);
  } catch (error) {
    byId("view").textContent = `This file's list of trajectories cannot be read, so it was cut short or changed: ${error.message}`;
    throw error;
  }
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function unpack(id) {
  const element = byId(id);
  if (!element) throw new Error(`this file holds no block ${id}: it was cut short`);
  const packed = new Blob([bytesOf(element.textContent.trim())]).stream();
  return new Response(packed.pipeThrough(new DecompressionStream("gzip"))).json();
}

/** The record of row n (prompt, segments, counts, extra); the last ones stay unpacked. */
function record(n) {
  const known = records.get(n);
  records.delete(n);
  const promise = known ?? unpack("r" + n);
  records.set(n, promise);
  promise.catch(() => records.delete(n));
  if (records.size > KEPT_RECORDS) records.delete(records.keys().next().value);
  return promise;
}

let haystacks = null;

/** Per row everything that a search looks through, in small letters. */
function allText() {
  haystacks ??= unpack("texts").then((texts) =>
    rows.map((row) => [texts[row.n], row.id, row.question, row.answer ?? "", ...row.golds].join("\n").toLowerCase()),
  );
  return haystacks;
}
