/**
 * The state of the session as the page knows it: the last answer to `show`, refreshed after events.
 *
 * Events: "view" (the state has changed), "entries" (new revisions), "presence", "online", "resync", "ended".
 */

const ACCESS = {
  note: ["present", "note", "decide", "confirm"],
  edit: ["propose", "update", "lease", "release", "rollback", "undo", "accept"],
};
const MAY = { observer: [], reviewer: ["note"], editor: ["note", "edit"], owner: ["note", "edit"] };
const QUIET_KINDS = new Set(["operation"]);
const LAZY_MILLISECONDS = 1000;
const PRESENCE_MILLISECONDS = 60_000;

export class Session extends EventTarget {
  constructor(connection) {
    super();
    this.connection = connection;
    this.view = null;
    this.policy = {};
    this.present = new Map();
    this.refreshing = null;
    this.again = false;
    this.lazy = 0;
    for (const kind of ["hello", "entries", "presence", "resync", "online", "ended"])
      connection.addEventListener(kind, (event) => this[`on_${kind}`](event.detail));
    setInterval(() => this.forget(), PRESENCE_MILLISECONDS / 4);
  }

  get you() {
    return this.view.you;
  }

  get revision() {
    return this.connection.revision;
  }

  get closed() {
    return this.view.status === "closed" || this.connection.ended;
  }

  /** Whether the page needs the artifact itself: the text of a `crdt` session comes through Yjs. */
  get needsValue() {
    return !(this.view.kind === "text" && this.view.sync === "crdt");
  }

  /** Whether this participant may do an operation; the plane checks it again. */
  can(operation) {
    if (this.closed) return false;
    const access = Object.keys(ACCESS).find((name) => ACCESS[name].includes(operation));
    return !access || MAY[this.you.role].includes(access);
  }

  request(operation, fields) {
    return this.connection.request(operation, fields);
  }

  /** Asks for the state. Calls while a request is under way lead to one more request. */
  refresh() {
    clearTimeout(this.lazy);
    this.lazy = 0;
    this.again = this.refreshing !== null;
    // `join` is `show` without the artifact for a participant who has joined already.
    this.refreshing ??= (this.needsValue ? this.request("show") : this.request("join", { value: false }))
      .then((view) => this.show(view))
      .catch(() => {})
      .finally(() => {
        this.refreshing = null;
        if (this.again) this.refresh();
      });
    return this.refreshing;
  }

  /** The name of a participant; the id of one that is not known. */
  nameOf(id) {
    return this.names.get(id) ?? id ?? "";
  }

  /** Reads the policy, which is part of the first entry of the log. */
  async readPolicy() {
    try {
      const { entries } = await this.request("log", { after: 0, limit: 1 });
      this.policy = entries[0]?.content.policy ?? {};
      this.tell("policy", this.policy);
    } catch {
      // the plane checks in any case; the page then offers what the default policy allows
    }
  }

  show(view) {
    this.view = { ...this.view, notes_left_out: 0, ...view };
    this.names = new Map(view.participants.map(({ id, name }) => [id, name]));
    this.connection.revision = Math.max(this.revision, view.revision);
    this.tell("view", this.view);
  }

  on_hello(view) {
    const first = this.view === null;
    this.show(view);
    if (!first) this.tell("resync", view);
  }

  on_entries(entries) {
    const fresh = entries.filter((entry) => entry.revision > this.revision);
    if (!fresh.length) return;
    this.connection.revision = fresh.at(-1).revision;
    this.tell("entries", fresh);
    const quiet = !this.needsValue || this.view.kind === "text";
    if (!quiet || !fresh.every((entry) => QUIET_KINDS.has(entry.kind))) this.refresh();
    else this.lazy ||= setTimeout(() => this.refresh(), LAZY_MILLISECONDS);
  }

  on_presence(list) {
    const known = new Set(this.view.participants.map((each) => each.id));
    for (const each of list) {
      if (each.gone) this.present.delete(each.id);
      else this.present.set(each.id, { ...each, at: each.at ?? this.placeOf(each), heard: Date.now() });
      if (!known.has(each.id)) this.refresh();
    }
    this.tell("presence", this.present);
  }

  /** The last known place: a presence that carries a Yjs client's awareness has none. */
  placeOf({ id, state }) {
    return state?.awareness === undefined ? null : (this.present.get(id)?.at ?? null);
  }

  on_resync() {
    this.refresh().then(() => this.tell("resync", this.view));
  }

  on_online(online) {
    this.tell("online", online);
  }

  on_ended(error) {
    this.tell("ended", error);
  }

  /** Forgets the places of participants that have been silent for a while. */
  forget() {
    const before = this.present.size;
    for (const [id, each] of this.present) if (Date.now() - each.heard > PRESENCE_MILLISECONDS) this.present.delete(id);
    if (this.present.size !== before) this.tell("presence", this.present);
  }

  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}
