/**
 * A text area with marks behind its text: selections of others, anchors of notes, leases.
 *
 * A layer with the same text lies behind the text area; it has the marks, and determines the height of both.
 * Events: "edit" (`{ops, before, again}`: an edit of the person, the text before it, and whether it is an undo or a
 * redo), "changed" (`{ops}`: a change of others was shown), "undo" (`{redo}`: the person wants to undo) and "select".
 */

import { element } from "./dom.js";
import { applyOps, opsOfSplice, spliceOf, transformOps, transformPosition } from "./text_changes.js";

/** Longer texts are shown without marks: the layer would make each key slow. */
const MOST_MARKED = 60_000;

export class TextEditor extends EventTarget {
  constructor(root, label) {
    super();
    this.layer = element("div", { class: "marks", "aria-hidden": "true" });
    this.area = element("textarea", { spellcheck: false, autocomplete: "off", "aria-label": label, rows: 8 });
    this.area.setAttribute("aria-describedby", "editor-help");
    root.replaceChildren(element("div", { class: "editor" }, this.layer, this.area));
    this.root = root;
    this.known = "";
    this.marks = [];
    this.composing = false;
    this.held = [];
    this.drawing = 0;
    this.area.addEventListener("input", () => this.composing || this.typed());
    this.area.addEventListener("beforeinput", (event) => this.undone(event, event.inputType));
    this.area.addEventListener("keydown", (event) => this.undone(event, keyOfUndo(event)));
    this.area.addEventListener("compositionstart", () => (this.composing = true));
    this.area.addEventListener("compositionend", () => this.composed());
    document.addEventListener("selectionchange", () => {
      if (document.activeElement === this.area) this.dispatchEvent(new Event("select"));
    });
  }

  get text() {
    return this.area.value;
  }

  get selection() {
    return { start: this.area.selectionStart, end: this.area.selectionEnd };
  }

  set readOnly(value) {
    this.area.readOnly = value;
    this.area.classList.toggle("read-only", value);
  }

  /** Shows another text; the selection moves with the text around it. */
  replace(text) {
    this.apply(opsOfSplice(spliceOf(this.known, text)));
  }

  /** Shows a change of somebody else. It is held while an input method is composing, which it would interrupt. */
  apply(ops) {
    if (!ops.length) return;
    if (this.composing) {
      this.held.push(ops);
      return;
    }
    this.tell("changed", { ops });
    this.show(ops);
  }

  /** Makes an edit on behalf of the person. */
  edit(ops) {
    const before = this.known;
    this.show(ops);
    const caret = endOf(ops);
    this.area.setSelectionRange(caret, caret);
    this.tell("edit", { ops, before, again: true });
  }

  show(ops) {
    const { start, end } = this.selection;
    const direction = this.area.selectionDirection;
    const focused = document.activeElement === this.area;
    this.known = applyOps(this.known, ops);
    const top = this.root.scrollTop;
    this.area.value = this.known;
    if (focused) this.area.setSelectionRange(transformPosition(start, ops), transformPosition(end, ops), direction);
    this.root.scrollTop = top;
    this.moveMarks(ops);
  }

  typed() {
    this.repair();
    const splice = spliceOf(this.known, this.area.value, this.area.selectionEnd);
    const ops = opsOfSplice(splice);
    const before = this.known;
    this.known = this.area.value;
    this.moveMarks(ops);
    if (ops.length) this.tell("edit", { ops, before });
  }

  /** Replaces half of a surrogate pair, which UTF-8 cannot encode, by U+FFFD, which has the same length. */
  repair() {
    if (this.area.value.isWellFormed()) return;
    const { start, end } = this.selection;
    this.area.value = this.area.value.toWellFormed();
    this.area.setSelectionRange(start, end);
  }

  /** Ends a composition: held changes of others come first, then the composed text. */
  composed() {
    this.composing = false;
    this.repair();
    const composed = this.area.value;
    let own = opsOfSplice(spliceOf(this.known, composed, this.area.selectionEnd));
    let before = this.known;
    this.known = composed;
    for (const ops of this.held.splice(0)) {
      const shown = transformOps(ops, own, "left");
      own = transformOps(own, ops, "right");
      before = applyOps(before, ops);
      this.tell("changed", { ops });
      this.show(shown);
    }
    this.draw();
    if (own.length) this.tell("edit", { ops: own, before });
  }

  undone(event, kind) {
    if (kind !== "historyUndo" && kind !== "historyRedo") return;
    event.preventDefault();
    if (!this.area.readOnly && !this.composing) this.tell("undo", { redo: kind === "historyRedo" });
  }

  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }

  /** Marks: `{start, end, kind, color, label, backward}`, in units of the text. Marks of the kind "person" have a cursor. */
  setMarks(marks) {
    this.marks = marks;
    this.draw();
  }

  moveMarks(ops) {
    this.marks = this.marks.map((mark) => ({
      ...mark,
      start: transformPosition(mark.start, ops, mark.start < mark.end),
      end: transformPosition(mark.end, ops),
    }));
    this.draw();
  }

  select(start, end) {
    this.area.focus();
    this.area.setSelectionRange(start, end);
    const line = this.text.slice(0, start).split("\n").length - 1;
    const height = parseFloat(getComputedStyle(this.area).lineHeight) || 20;
    const found = this.layer.querySelector(`[data-start="${start}"]`);
    this.root.scrollTop = Math.max(0, (found ? found.offsetTop : line * height) - this.root.clientHeight / 3);
  }

  draw() {
    this.drawing ||= requestAnimationFrame(() => {
      this.drawing = 0;
      const long = this.text.length > MOST_MARKED;
      this.root.classList.toggle("long", long);
      this.layer.replaceChildren(...(long ? [] : this.pieces()), "\n");
    });
  }

  /** Splits the text at the borders of marks. A piece has the classes of all marks that cover it. */
  pieces() {
    const text = this.text;
    const marks = this.marks.map((mark) => ({ ...mark, end: Math.min(mark.end, text.length) }));
    const borders = [...new Set([0, text.length, ...marks.flatMap(({ start, end }) => [start, end])])];
    borders.sort((one, other) => one - other);
    const found = [];
    borders.forEach((at, index) => {
      for (const mark of marks)
        if (mark.kind === "person" && (mark.backward ? mark.start : mark.end) === at)
          found.push(element("span", { class: `caret ${mark.color}`, data: { label: mark.label } }));
      const piece = text.slice(at, borders[index + 1] ?? at);
      const covering = marks.filter(({ start, end }) => start <= at && at < end);
      if (!piece) return;
      const classes = covering.map((mark) => `${mark.kind} ${mark.color ?? ""}`).join(" ");
      found.push(classes ? element("span", { class: classes, data: { start: at } }, piece) : piece);
    });
    return found;
  }
}

/** The end of a change, in the text after it. */
function endOf(ops) {
  return ops.reduce((at, part) => at + (typeof part === "number" ? part : (part.length ?? 0)), 0);
}

function keyOfUndo(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return "";
  const key = event.key.toLowerCase();
  if (key === "z") return event.shiftKey ? "historyRedo" : "historyUndo";
  return key === "y" ? "historyRedo" : "";
}
