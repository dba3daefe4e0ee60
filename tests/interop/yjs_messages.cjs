// What y-protocols makes of messages: {ours: {name: base64}, text} on standard input. It reads ours and writes its own.
const Y = require("yjs");
const sync = require("y-protocols/sync");
const { Awareness, applyAwarenessUpdate, encodeAwarenessUpdate } = require("y-protocols/awareness");
const encoding = require("lib0/encoding");
const decoding = require("lib0/decoding");

const base64 = (bytes) => Buffer.from(bytes).toString("base64");

function message(kind, write) {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, kind);
  write(encoder);
  return base64(encoding.toUint8Array(encoder));
}

function answerOf({ ours, text, state }) {
  const theirs = new Y.Doc();
  theirs.getText("artifact").insert(0, text);
  const awareness = new Awareness(theirs);
  awareness.setLocalState(state);
  const update = encodeAwarenessUpdate(awareness, [theirs.clientID]);
  const written = {
    step1: message(0, (encoder) => sync.writeSyncStep1(encoder, theirs)),
    step2: message(0, (encoder) => sync.writeSyncStep2(encoder, theirs)),
    update: message(0, (encoder) => sync.writeUpdate(encoder, Y.encodeStateAsUpdate(theirs))),
    awareness: message(1, (encoder) => encoding.writeVarUint8Array(encoder, update)),
    query: message(3, () => {}),
  };
  const doc = new Y.Doc();
  const heard = new Awareness(doc);
  const replies = {};
  for (const [name, raw] of Object.entries(ours)) {
    const decoder = decoding.createDecoder(Buffer.from(raw, "base64"));
    const reply = encoding.createEncoder();
    if (decoding.readVarUint(decoder) === 0) replies[name] = sync.readSyncMessage(decoder, reply, doc, "test");
    else applyAwarenessUpdate(heard, decoding.readVarUint8Array(decoder), "test");
  }
  return {
    written,
    client: theirs.clientID,
    kinds: replies,
    text: doc.getText("artifact").toString(),
    states: Object.fromEntries(heard.getStates()),
  };
}

let input = "";
process.stdin.on("data", (chunk) => (input += chunk));
process.stdin.on("end", () => {
  console.log(JSON.stringify(answerOf(JSON.parse(input))));
  process.exit(0); // an awareness has a timer
});
