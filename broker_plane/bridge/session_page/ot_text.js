/**
 * The text of an `ot` session: edits are sent at once, one change at a time, and rebased over the changes of others. The
 * plane decides the order; the text of the log is the truth.
 *
 * Events: "saved" (boolean) and "lost" (`{error, text}`: a change that the plane refused, with the text as it was).
 */

import { Undo } from "./undo.js";
import { applyOps, composeOps, fromWire, opsBetween, toWire, transformOps } from "./text_changes.js";

const PAUSE_MILLISECONDS = 150;
const CHANGING = new Set(["operation", "reverted", "rolled_back"]);
const MOST_ENTRIES = 500;
const WITHOUT_ANSWER = new Set(["offline", "timeout"]);

export class OtText extends EventTarget {
  constructor(session, editor) {
    super();
    this.session = session;
    this.editor = editor;
    this.timer = 0;
    this.undo = new Undo(editor);
    this.start(session.view);
    editor.addEventListener("edit", ({ detail }) => this.edited(detail.ops));
    session.addEventListener("entries", ({ detail }) => this.entries(detail));
    session.addEventListener("resync", () => this.catchUp());
  }

  get ready() {
    return true;
  }

  /**
   * `stored` is the text of the log at `revision`; `sent` also has the change `inflight`, which is not acknowledged; the
   * editor also has `typed`, which has not been sent.
   */
  start({ value, revision }) {
    this.stored = this.sent = value;
    this.revision = revision;
    this.inflight = null;
    this.typed = [];
    this.editor.replace(value);
  }

  edited(ops) {
    this.typed = composeOps(this.typed, ops);
    this.tellSaved();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), PAUSE_MILLISECONDS);
  }

  async send() {
    if (this.inflight || !this.typed.length || !this.session.connection.online) return;
    const change = { base: this.revision, edit: { ops: toWire(this.typed, this.sent) }, stale: "merge" };
    this.inflight = this.typed;
    this.unanswered = false;
    this.sent = applyOps(this.sent, this.typed);
    this.typed = [];
    try {
      this.acknowledge((await this.session.request("propose", change)).revision);
    } catch (error) {
      this.refused(error);
    }
  }

  /** Handles an answer, which may arrive before the entry or after it. */
  acknowledge(revision) {
    if (this.inflight) this.awaited = revision;
    if (this.revision >= revision) this.settled();
  }

  refused(error) {
    if (WITHOUT_ANSWER.has(error.code)) {
      this.unanswered = true; // `catchUp` finds out whether it is in the log
      return;
    }
    if (error.retryAfter !== undefined) {
      this.again(error.retryAfter * 1000);
      return;
    }
    const text = this.editor.text;
    this.inflight = null;
    this.sent = this.stored;
    this.typed = [];
    this.editor.replace(this.stored);
    this.dispatchEvent(new CustomEvent("lost", { detail: { error, text } }));
    this.tellSaved();
  }

  /** Sends the change that was not stored again, together with later edits. */
  again(milliseconds) {
    this.typed = composeOps(this.inflight, this.typed);
    this.inflight = null;
    this.unanswered = false;
    this.sent = this.stored;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), milliseconds);
  }

  entries(entries) {
    if (entries[0].revision > this.revision + 1) this.catchUp();
    else for (const entry of entries) this.fold(entry);
  }

  fold(entry) {
    if (entry.revision <= this.revision) return;
    const change = changeOf(entry);
    this.revision = entry.revision;
    if (change) this.merge(entry, fromWire(change, this.stored));
    if (this.inflight && this.awaited !== undefined && entry.revision >= this.awaited) this.settled();
  }

  /** Reads missed revisions. A change whose answer was lost is sent again unless it is among them. */
  async catchUp() {
    if (this.catching) return;
    this.catching = true;
    try {
      let newest = Infinity;
      while (this.revision < newest) {
        const log = await this.session.request("log", { after: this.revision, limit: MOST_ENTRIES });
        log.entries.forEach((entry) => this.fold(entry));
        newest = log.entries.length ? log.revision : 0;
      }
      if (this.inflight && this.unanswered) this.again(0);
      else this.send();
    } catch (error) {
      if (!WITHOUT_ANSWER.has(error.code)) this.dispatchEvent(new CustomEvent("lost", { detail: { error } }));
    } finally {
      this.catching = false;
    }
  }

  merge(entry, ops) {
    const before = this.sent;
    this.stored = applyOps(this.stored, ops);
    if (this.isOwn(entry)) {
      this.inflight = []; // it is part of the text now; its answer may arrive later
      this.sent = this.stored;
      this.show(opsBetween(before, this.sent));
      if (this.unanswered) this.settled();
      return;
    }
    const underWay = this.inflight ?? [];
    const onSent = transformOps(ops, underWay, "left");
    if (this.inflight) this.inflight = transformOps(underWay, ops, "right");
    this.sent = applyOps(before, onSent);
    this.show(onSent);
  }

  isOwn(entry) {
    if (!this.inflight || entry.participant !== this.session.you.id) return false;
    return this.awaited === undefined || this.awaited === entry.revision;
  }

  /** Rebases unsent edits after `sent` has changed by `ops`, and shows the change. */
  show(ops) {
    const shown = transformOps(ops, this.typed, "left");
    this.typed = transformOps(this.typed, ops, "right");
    this.editor.apply(shown);
  }

  settled() {
    this.inflight = null;
    this.awaited = undefined;
    this.unanswered = false;
    this.tellSaved();
    this.send();
  }

  tellSaved() {
    const saved = !this.inflight && !this.typed.length;
    this.dispatchEvent(new CustomEvent("saved", { detail: saved }));
  }

  close() {
    clearTimeout(this.timer);
  }
}

/** The components by which an entry changes the text; null if it does not change it, as a proposal. */
export function changeOf({ kind, content }) {
  return CHANGING.has(kind) ? content.change : null;
}
