// A client of yjs and y-websocket, unmodified: commands as JSON lines on standard input, answers on standard output.
const readline = require("readline");
const Y = require("yjs");
const { WebsocketProvider } = require("y-websocket");
const awarenessProtocol = require("y-protocols/awareness");
const encoding = require("lib0/encoding");
const WebSocket = require("ws");

const ALPHABET = ["a", "b", "é", "ß", " ", "\n", "漢", "🌴", "👩‍🚀", "𝄞", "\u0301", "z"];
const ROOTS = { text: (doc) => doc.getText("artifact"), json: (doc) => doc.getMap("artifact"), table: (doc) => doc.getArray("artifact") };

let doc, root, provider, random;
const closes = [];
const denials = [];
console.warn = (text) => denials.push(String(text));

// mulberry32: the same edits for the same seed
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const below = (limit) => Math.floor(random() * limit);

// Indices of Yjs are UTF-16 units; an edit must not cut a surrogate pair.
function edit() {
  const characters = Array.from(root.toString());
  const start = below(characters.length + 1);
  const index = characters.slice(0, start).join("").length;
  if (characters.length > 40 ? random() < 0.5 : random() < 0.2 && start < characters.length) {
    root.delete(index, characters.slice(start, start + 1 + below(4)).join("").length);
  } else {
    root.insert(index, Array.from({ length: 1 + below(4) }, () => ALPHABET[below(ALPHABET.length)]).join(""));
  }
}

const plain = (value) => (value && value.toJSON ? value.toJSON() : value);

function rowOf(fields) {
  const row = new Y.Map();
  for (const [name, value] of Object.entries(fields)) row.set(name, value);
  return row;
}

const COMMANDS = {
  open({ url, grant, params, kind, seed, backoff }) {
    doc = new Y.Doc();
    root = ROOTS[kind || "text"](doc);
    random = generator(seed || 1);
    const options = { WebSocketPolyfill: WebSocket, disableBc: true, params: params || {}, maxBackoffTime: backoff || 2500 };
    provider = new WebsocketProvider(url, grant, doc, options);
    provider.on("connection-close", (event) => event && closes.push({ code: event.code, reason: event.reason, at: Date.now() }));
    provider.on("connection-error", () => {});
    return { client: doc.clientID };
  },
  edit({ count }) {
    for (let done = 0; done < count; done++) edit();
    return { length: root.length };
  },
  insert({ at, text }) {
    root.insert(at, text);
    return {};
  },
  set({ key, value }) {
    root.set(key, value);
    return {};
  },
  push({ row }) {
    root.push([rowOf(row)]);
    return {};
  },
  cell({ row, name, value }) {
    root.get(row).set(name, value);
    return {};
  },
  state() {
    return {
      value: plain(root),
      vector: Buffer.from(Y.encodeStateVector(doc)).toString("hex"),
      synced: provider.synced,
      connected: provider.wsconnected,
      wanted: provider.shouldConnect,
      closes,
      denials,
    };
  },
  aware({ state }) {
    provider.awareness.setLocalState(state);
    return { clock: provider.awareness.meta.get(doc.clientID).clock };
  },
  states() {
    return { states: Array.from(provider.awareness.getStates(), ([client, state]) => [client, state]) };
  },
  // A client that speaks for another client id
  pretend({ client, clock, state }) {
    const update = encoding.createEncoder();
    encoding.writeVarUint(update, 1);
    encoding.writeVarUint(update, client);
    encoding.writeVarUint(update, clock);
    encoding.writeVarString(update, JSON.stringify(state));
    const message = encoding.createEncoder();
    encoding.writeVarUint(message, 1);
    encoding.writeVarUint8Array(message, encoding.toUint8Array(update));
    provider.ws.send(encoding.toUint8Array(message));
    return {};
  },
  send({ hex }) {
    provider.ws.send(Buffer.from(hex, "hex"));
    return {};
  },
  disconnect() {
    provider.disconnect();
    return {};
  },
  connect() {
    provider.connect();
    return {};
  },
};

readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { do: name, ...fields } = JSON.parse(line);
    process.stdout.write(JSON.stringify(COMMANDS[name](fields)) + "\n");
  })
  .on("close", () => process.exit(0));
