/**
 * Undo and redo of the person's own edits; later changes of others are kept. A browser's built-in undo history is
 * cleared whenever a script changes the text.
 */

import { invertOps, transformOps } from "./text_changes.js";

const TOGETHER_MILLISECONDS = 700;
const MOST = 200;

export class Undo {
  /** Listens to a TextEditor. Undoing makes the editor emit another edit. */
  constructor(editor) {
    this.editor = editor;
    this.done = [];
    this.undone = [];
    this.last = 0;
    editor.addEventListener("edit", ({ detail }) => detail.again || this.edited(detail));
    editor.addEventListener("changed", ({ detail }) => this.changed(detail.ops));
    editor.addEventListener("undo", ({ detail }) => this.step(detail.redo));
  }

  edited({ ops, before }) {
    this.undone = [];
    this.done.push({ inverse: invertOps(ops, before), group: this.group() });
    if (this.done.length > MOST) this.done.shift();
  }

  /** Edits in quick succession are undone together. */
  group() {
    const now = Date.now();
    if (now - this.last > TOGETHER_MILLISECONDS) this.number = (this.number ?? 0) + 1;
    this.last = now;
    return this.number;
  }

  /** Rebases all steps over a change of somebody else, the newest first. */
  changed(ops) {
    for (const stack of [this.done, this.undone]) {
      let other = ops;
      for (const step of stack.toReversed()) {
        const inverse = transformOps(step.inverse, other, "right");
        other = transformOps(other, step.inverse, "left");
        step.inverse = inverse;
      }
    }
  }

  step(redo) {
    const [from, to] = redo ? [this.undone, this.done] : [this.done, this.undone];
    const group = from.at(-1)?.group;
    while (from.length && from.at(-1).group === group) {
      const { inverse } = from.pop();
      to.push({ inverse: invertOps(inverse, this.editor.text), group });
      this.editor.edit(inverse);
    }
  }
}
