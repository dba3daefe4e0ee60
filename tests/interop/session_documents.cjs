// A Yjs document of another program. {kind, updates, edits, seed} on standard input: it applies the updates (base64), then
// makes random edits, and answers with the update of each edit, its value and its state vector. `halve` cuts a character.
const Y = require("yjs");

const randomOf = (seed) => () => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return seed / 2147483648;
};

const roots = { text: "getText", json: "getMap", table: "getArray" };
const pieces = ["a", "bc ", "🌴", "🎼x", "é", "e\u0301", "\n"];
const scalars = [1, 2.5, true, null, "é🌴", 4294967296];

// The positions between whole characters, in UTF-16 units.
const boundaries = (text) => [...text].reduce((all, each) => [...all, all[all.length - 1] + each.length], [0]);

function editText(text, pick) {
  const places = boundaries(text.toString());
  const from = pick(places.length);
  if (places.length > 2 && pick(3) === 0) {
    const to = Math.min(places.length - 1, from + pick(4));
    if (to > from) return text.delete(places[from], places[to] - places[from]);
  }
  return text.insert(places[from], pieces[pick(pieces.length)]);
}

function shared(pick, depth) {
  const kind = depth > 2 ? 0 : pick(4);
  if (kind === 0) return scalars[pick(scalars.length)];
  if (kind === 1) return { plain: [scalars[pick(scalars.length)], { x: 1 }] };
  if (kind === 2) return new Y.Map([["p", shared(pick, depth + 1)], ["q", shared(pick, depth + 1)]]);
  return Y.Array.from([shared(pick, depth + 1), shared(pick, depth + 1)]);
}

function editMap(map, pick) {
  const name = "abcde"[pick(5)];
  const inner = map.get(name);
  if (inner instanceof Y.Map && pick(2)) return editMap(inner, pick);
  if (inner instanceof Y.Array && pick(2)) return editArray(inner, pick, () => shared(pick, 1));
  return pick(4) === 0 ? map.delete(name) : map.set(name, shared(pick, 0));
}

function editArray(array, pick, made) {
  const at = pick(array.length + 1);
  return at < array.length && pick(3) === 0 ? array.delete(at, 1) : array.insert(at, [made()]);
}

const row = (pick) => new Y.Map([["name", pieces[pick(7)]], ["count", pick(100)]]);

function editTable(rows, pick) {
  const at = pick(rows.length + 1);
  if (at < rows.length && pick(2)) return rows.get(at).set(["name", "count", "new"][pick(3)], scalars[pick(6)]);
  return editArray(rows, pick, () => row(pick));
}

const edit = { text: editText, json: editMap, table: editTable };

function answerOf({ kind, updates, edits, seed, halve }) {
  const doc = new Y.Doc();
  const root = doc[roots[kind]]("artifact");
  for (const each of updates) Y.applyUpdate(doc, Buffer.from(each, "base64"));
  const made = [];
  doc.on("update", (update) => made.push(Buffer.from(update).toString("base64")));
  const random = randomOf(seed || 1);
  const pick = (below) => Math.floor(random() * below);
  for (let number = 0; number < (edits || 0); number++) edit[kind](root, pick);
  if (halve !== undefined) root.delete(halve, 1);
  return {
    updates: made,
    value: kind === "text" ? root.toString() : root.toJSON(),
    state: Buffer.from(Y.encodeStateVector(doc)).toString("base64"),
    pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null,
  };
}

let input = "";
process.stdin.on("data", (chunk) => (input += chunk));
process.stdin.on("end", () => console.log(JSON.stringify(answerOf(JSON.parse(input)))));
