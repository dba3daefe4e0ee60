/**
 * The artifact of a session: the editor for its kind and sync protocol, the marks in it, and the places that
 * other parts of the page link to. A place is `{region}` or `{cursor}`, as in a presence, in code points.
 */

import { CrdtText } from "./crdt_text.js";
import { coalesced, colorOf } from "./dom.js";
import { DraftText } from "./draft_text.js";
import { JsonTree } from "./json_tree.js";
import { OtText } from "./ot_text.js";
import { TableGrid } from "./table_grid.js";
import { pointsAt, unitsAt } from "./text_changes.js";
import { TextEditor } from "./text_editor.js";

const PRESENT_MILLISECONDS = 700;
const RENEW_MILLISECONDS = 20_000;

export class Artifact extends EventTarget {
  constructor(session, root, addresses, parameters) {
    super();
    this.session = session;
    this.timer = 0;
    this.markSoon = coalesced(() => this.mark());
    const { kind, sync } = session.view;
    this.isText = kind === "text";
    if (this.isText) {
      this.editor = new TextEditor(root, "The text of the session");
      this.content =
        sync === "crdt"
          ? new CrdtText(session, this.editor, addresses, parameters)
          : new (sync === "ot" ? OtText : DraftText)(session, this.editor);
      this.editor.addEventListener("select", () => this.moved());
      this.editor.addEventListener("edit", () => this.moved());
      this.content.addEventListener("cursors", () => this.markSoon());
    } else {
      this.content = new (kind === "table" ? TableGrid : JsonTree)(session, root);
      this.content.draw();
      root.addEventListener("select", () => this.moved());
    }
    for (const kind of ["view", "ended"]) session.addEventListener(kind, () => this.update());
    session.addEventListener("presence", () => this.markSoon());
    this.content.addEventListener?.("ready", () => this.update());
    setInterval(() => this.renew(), RENEW_MILLISECONDS);
    this.update();
  }

  update() {
    if (!this.isText) return;
    this.editor.readOnly = !this.session.can("propose") || !this.content.ready;
    this.markSoon();
  }

  get text() {
    return this.isText ? this.editor.text : JSON.stringify(this.session.view.value, null, 2);
  }

  /** Marks the cursors and selections of others, the anchors of notes, and leases. */
  mark() {
    if (!this.isText) return;
    const { notes = [], leases = [], you } = this.session.view;
    const marks = [];
    const add = (region, mark) => {
      const units = this.unitsOf(region);
      if (units) marks.push({ ...units, ...mark });
    };
    for (const { anchor } of notes) if (anchor && !anchor.detached) add(anchor.region, { kind: "anchor" });
    for (const lease of leases) {
      const name = this.session.nameOf(lease.participant);
      add(lease.region, { kind: "lease", color: colorOf(name) });
    }
    const cursors = this.content.cursors?.() ?? [];
    for (const { id, name, start, end, backward } of cursors)
      marks.push({ start, end, backward, kind: "person", color: colorOf(name), label: name, id });
    const shown = new Set(cursors.map((each) => each.id));
    for (const { id, name, at } of this.session.present.values())
      if (at && id !== you.id && !shown.has(id))
        add(regionOf(at), { kind: "person", color: colorOf(name ?? id), label: name ?? id });
    this.editor.setMarks(marks);
  }

  unitsOf(region) {
    if (region?.start === undefined) return null;
    const start = unitsAt(this.text, region.start);
    return { start, end: start + unitsAt(this.text.slice(start), (region.end ?? region.start) - region.start) };
  }

  /** Describes a place in words. */
  describe(at) {
    const region = regionOf(at);
    if (region?.path !== undefined) return region.path || "the whole document";
    const units = this.isText && this.unitsOf(region);
    if (!units) return "the whole artifact";
    const line = this.text.slice(0, units.start).split("\n").length;
    const quoted = this.text.slice(units.start, Math.min(units.end, units.start + 40)).split("\n")[0];
    return quoted ? `line ${line}, “${quoted}”` : `line ${line}`;
  }

  /** The text before and after a region, up to the ends of its lines: `[before, after]`. */
  context(region) {
    const units = this.isText && this.unitsOf(region);
    if (!units) return ["", ""];
    const { text } = this;
    const end = text.indexOf("\n", units.end);
    const first = text.lastIndexOf("\n", units.start - 1) + 1;
    return [text.slice(units.start ? first : 0, units.start), text.slice(units.end, end < 0 ? text.length : end)];
  }

  /** Shows a place: selects it in the text, or focuses the value. */
  go(at) {
    const region = regionOf(at);
    const units = this.isText && this.unitsOf(region);
    if (units) this.editor.select(units.start, units.end);
    else if (!this.isText) this.content.select(region?.path ?? "");
  }

  /** The selection as `{region}`, for a structured artifact with its base revision; null without one. */
  selected() {
    if (!this.isText) return this.content.region && { region: this.content.region, base: this.session.revision };
    const { start, end } = this.editor.selection;
    if (start === end) return null;
    return { region: this.regionOfUnits(start, end) };
  }

  regionOfUnits(start, end) {
    const first = pointsAt(this.text, start);
    return { start: first, end: first + pointsAt(this.text.slice(start, end), end - start) };
  }

  moved() {
    this.dispatchEvent(new Event("select"));
    this.timer ||= setTimeout(() => {
      this.timer = 0;
      this.markSoon = coalesced(() => this.mark());
      this.present();
    }, PRESENT_MILLISECONDS);
  }

  /** Sends this participant's place to the others, which also renews its leases. */
  present() {
    if (!this.session.connection.online || !this.session.can("present")) return;
    const region = this.isText
      ? this.regionOfUnits(this.editor.selection.start, this.editor.selection.end)
      : this.content.region;
    this.session.request("present", region ? { at: { region } } : {}).catch(() => {});
  }

  renew() {
    if (!document.hidden) this.present();
  }
}

function regionOf(at) {
  if (!at) return null;
  if (typeof at.cursor === "number") return { start: at.cursor, end: at.cursor };
  return at.region ?? at.cursor ?? null;
}
