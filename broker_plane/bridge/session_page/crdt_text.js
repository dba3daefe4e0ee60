/**
 * The text of a `crdt` session: the editor is bound to the Yjs document, which y-websocket's provider keeps in sync.
 *
 * Events: "saved" (boolean: whether the plane has stored every local edit), "cursors", "ready" (the text has
 * arrived) and "lost" (`{error, text}`: the plane refused an edit for good).
 */

import * as Y from "./yjs.js";

const ARTIFACT = "artifact";
const SYNC = 0;
const STEP_2 = 1;
const UPDATE = 2;
/** The code of a socket whose grant has ended; the JSON socket reports why. */
const GONE = 4410;
/** Sync step 1 with an empty state vector: the answer is everything. */
const WHOLE = new Uint8Array([SYNC, 0, 1, 0]);

export class CrdtText extends EventTarget {
  constructor(session, editor, addresses, parameters) {
    super();
    this.session = session;
    this.editor = editor;
    this.addresses = addresses;
    this.parameters = parameters;
    editor.addEventListener("edit", ({ detail }) => this.edited(detail.ops));
    editor.addEventListener("select", () => this.selected());
    editor.addEventListener("undo", ({ detail }) => (detail.redo ? this.undo.redo() : this.undo.undo()));
    this.connect();
  }

  /** Starts with an empty document, which the first synchronization fills. */
  connect() {
    this.doc = new Y.Doc();
    this.text = this.doc.getText(ARTIFACT);
    this.undo = new Y.UndoManager(this.text, { trackedOrigins: new Set([this]) });
    this.unstored = [];
    /** Whether the text has arrived once. If the connection breaks later, edits are kept and sent afterwards. */
    this.ready = false;
    this.provider = new Y.WebsocketProvider(this.addresses.base, this.addresses.grant, this.doc, {
      params: this.parameters,
      disableBc: true, // other tabs synchronize through the plane, which checks and stores every edit
    });
    this.listen();
  }

  listen() {
    const { doc, text, provider } = this;
    text.observe((event) => event.transaction.origin !== this && this.editor.apply(opsOfDelta(event.delta)));
    doc.on("update", (update, origin) => origin !== provider && this.sent(update));
    provider.once("sync", () => {
      this.ready = true;
      this.dispatchEvent(new Event("ready"));
    });
    provider.on("sync", (synced) => synced && this.compare());
    provider.on("closed", ({ code, reason }) => this.refused(code, reason));
    provider.awareness.on("change", () => this.dispatchEvent(new Event("cursors")));
    const handle = provider.messageHandlers[SYNC];
    provider.messageHandlers[SYNC] = (encoder, decoder, ...rest) => {
      this.heard(decoder.arr.slice(decoder.pos));
      handle(encoder, decoder, ...rest);
    };
    const { name, id } = this.session.you;
    if (this.session.can("present")) provider.awareness.setLocalStateField("user", { name, id });
    else provider.awareness.setLocalState(null);
  }

  /**
   * The plane closed the socket for good. If it refused an edit, start again without that edit and hand the person the
   * text as it was. If the grant has ended, the JSON socket reports it.
   */
  refused(code, reason) {
    if (!this.unstored.length || this.session.closed || code === GONE) return;
    const error = new Error(`The plane refused it (${reason || code})`);
    this.dispatchEvent(new CustomEvent("lost", { detail: { error, text: this.editor.text } }));
    this.close();
    this.editor.replace("");
    this.connect();
    this.dispatchEvent(new Event("ready"));
    this.tellSaved();
  }

  edited(ops) {
    this.doc.transact(() => {
      let at = 0;
      for (const part of ops) {
        if (typeof part === "number") at += part;
        else if (part.d) this.text.delete(at, part.d);
        else {
          this.text.insert(at, part);
          at += part.length;
        }
      }
    }, this);
  }

  selected() {
    if (!this.session.can("present")) return;
    const { start, end } = this.editor.selection;
    const at = (index) => Y.createRelativePositionFromTypeIndex(this.text, index);
    this.provider.awareness.setLocalStateField("cursor", { anchor: at(start), head: at(end) });
  }

  /** The selections of others from their awareness: `{id, name, start, end, backward}`. */
  cursors() {
    const found = [];
    this.provider.awareness.getStates().forEach((state, client) => {
      if (client === this.doc.clientID || !state.cursor?.anchor || !state.cursor.head) return;
      const [anchor, head] = [state.cursor.anchor, state.cursor.head].map((place) => this.indexOf(place));
      if (anchor === null || head === null) return;
      const name = String(state.user?.name ?? "somebody");
      const id = String(state.user?.id ?? client);
      found.push({ id, name, start: Math.min(anchor, head), end: Math.max(anchor, head), backward: head < anchor });
    });
    return found;
  }

  indexOf(json) {
    try {
      const place = Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(json), this.doc);
      return place?.type === this.text ? place.index : null;
    } catch {
      return null; // another participant's client may put anything there
    }
  }

  sent(update) {
    this.unstored.push(contentOf(update));
    this.tellSaved();
  }

  /** The plane stores an update before it sends it to everybody, its sender included: an echo means stored. */
  heard(raw) {
    if (raw[0] !== UPDATE && raw[0] !== STEP_2) return;
    const content = contentOf(raw.slice(lengthOfVarint(raw, 1)));
    this.unstored = this.unstored.filter((own) => !covers(content, own));
    this.tellSaved();
  }

  /** After reconnecting, compare with the whole document: it shows which of the last edits had been stored. */
  compare() {
    if (this.unstored.length) this.provider.ws.send(WHOLE);
  }

  tellSaved() {
    this.dispatchEvent(new CustomEvent("saved", { detail: this.unstored.length === 0 }));
  }

  close() {
    this.provider.destroy();
  }
}

/** The changes of a Yjs event as components. */
function opsOfDelta(delta) {
  return delta.map((part) => part.retain ?? (part.delete ? { d: part.delete } : String(part.insert)));
}

/** The end of the variable-length number at `at`. */
function lengthOfVarint(raw, at) {
  while (raw[at] >= 128) at++;
  return at + 1;
}

/** The content of an update: by client, the ranges of items and of deletions. */
function contentOf(update) {
  const { structs, ds } = Y.decodeUpdate(update);
  const made = new Map();
  for (const { id, length } of structs) {
    if (!made.has(id.client)) made.set(id.client, []);
    made.get(id.client).push({ clock: id.clock, len: length });
  }
  return { made, deleted: ds.clients };
}

/** Whether `all` contains everything in `part`. */
function covers(all, part) {
  const within = (ranges, { clock, len }) =>
    ranges?.some((range) => range.clock <= clock && clock + len <= range.clock + range.len);
  return ["made", "deleted"].every((kind) =>
    [...part[kind]].every(([client, ranges]) =>
      joined(ranges).every((range) => within(joined(all[kind].get(client)), range)),
    ),
  );
}

/** Merges adjacent ranges. */
function joined(ranges = []) {
  const found = [];
  for (const { clock, len } of [...ranges].sort((one, other) => one.clock - other.clock)) {
    const last = found.at(-1);
    if (last && last.clock + last.len >= clock) last.len = Math.max(last.len, clock + len - last.clock);
    else found.push({ clock, len });
  }
  return found;
}
