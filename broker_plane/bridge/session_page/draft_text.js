/**
 * The text of a `patch` session: a person edits a draft and sends it as one change against the revision that the draft
 * started from. The plane merges edits that do not overlap; the page shows what others changed in the meantime.
 *
 * Events: "draft" (`{dirty, base, revision}`), "saved" (boolean) and "outranked" (`{text}`: the draft
 * overlapped an edit whose intent has a higher priority).
 */

import { applyOps, fromWire, opsBetween, toWire } from "./text_changes.js";
import { changeOf } from "./ot_text.js";
import { Undo } from "./undo.js";

export class DraftText extends EventTarget {
  constructor(session, editor) {
    super();
    this.session = session;
    this.editor = editor;
    this.stored = session.view.value;
    this.revision = session.view.revision;
    this.base = this.stored;
    this.baseRevision = this.revision;
    editor.replace(this.stored);
    this.undo = new Undo(editor);
    editor.addEventListener("edit", () => this.tell());
    session.addEventListener("entries", ({ detail }) => this.entries(detail));
    session.addEventListener("resync", () => this.catchUp(session.view.value, session.view.revision));
  }

  get ready() {
    return true;
  }

  get dirty() {
    return this.editor.text !== this.base;
  }

  entries(entries) {
    if (entries[0].revision > this.revision + 1) {
      this.session.refresh().then(() => this.catchUp(this.session.view.value, this.session.view.revision));
      return;
    }
    let text = this.stored;
    for (const change of entries.map(changeOf)) if (change) text = applyOps(text, fromWire(change, text));
    this.catchUp(text, entries.at(-1).revision);
  }

  /** Takes a newer text. A draft keeps the base that its author has seen. */
  catchUp(text, revision) {
    if (revision <= this.revision) return;
    const dirty = this.dirty;
    this.stored = text;
    this.revision = revision;
    if (!dirty) this.rebase();
    this.tell();
  }

  rebase() {
    this.base = this.stored;
    this.baseRevision = this.revision;
    this.editor.replace(this.stored);
  }

  /** Sends the draft. Rejects with SessionError, and then the draft is kept. */
  async propose(message = "") {
    const text = this.editor.text;
    const ops = toWire(opsBetween(this.base, text), this.base);
    const said = message ? { message } : {};
    const answer = await this.session.request("propose", { base: this.baseRevision, edit: { ops }, ...said });
    const view = await this.session.request("show");
    this.stored = view.value;
    this.revision = view.revision;
    this.rebase();
    this.tell();
    if (answer.conflict?.winner === "ours") this.dispatchEvent(new CustomEvent("outranked", { detail: { text } }));
    return answer;
  }

  discard() {
    this.rebase();
    this.tell();
  }

  tell() {
    const { dirty, baseRevision: base, revision } = this;
    this.dispatchEvent(new CustomEvent("draft", { detail: { dirty, base, revision } }));
    this.dispatchEvent(new CustomEvent("saved", { detail: !dirty }));
  }

  close() {}
}
