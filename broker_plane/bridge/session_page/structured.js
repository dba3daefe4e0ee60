/**
 * What the editors of JSON documents and of tables share. Each edit is a proposal of its own for the region of one value,
 * against the revision that is shown. A subclass builds the elements in `build(value)`.
 */

import { announce, element } from "./dom.js";
import { spoken } from "./proposed.js";
import { kindOf, shown, valueAt, written } from "./values.js";

export class Structured {
  constructor(session, root) {
    this.session = session;
    this.root = root;
    this.here = "";
    this.drawn = "";
    session.addEventListener("view", () => this.draw());
    session.addEventListener("presence", () => this.markPresence());
    root.addEventListener("focusin", ({ target }) => this.focused(target));
    this.pressed = false;
    root.addEventListener("pointerdown", () => (this.pressed = true));
    for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => this.released());
  }

  get ready() {
    return true;
  }

  get editable() {
    return this.session.can("propose");
  }

  /** The pointer of the value that has the focus, or had it last. */
  get region() {
    return this.here ? { path: this.here } : null;
  }

  /** Redraws after a click: a button that is replaced while it is pressed would not be clicked. */
  released() {
    if (!this.pressed) return;
    setTimeout(() => {
      this.pressed = false;
      this.draw();
    });
  }

  draw() {
    if (this.pressed) return;
    const { value } = this.session.view;
    const signature = JSON.stringify([value, this.page, this.editable]);
    if (signature === this.drawn || value === undefined) return;
    const active = this.root.contains(document.activeElement) ? document.activeElement : null;
    if (active?.matches("input.value") && active.value !== active.defaultValue) {
      active.classList.add("outdated"); // it is redrawn when the field loses the focus
      return;
    }
    this.drawn = signature;
    this.revision = this.session.view.revision;
    const restore = this.restorer(active);
    const closed = new Set([...this.root.querySelectorAll("details:not([open])")].map((each) => each.dataset.path));
    this.root.replaceChildren(this.build(value));
    this.root.querySelectorAll("details").forEach((each) => (each.open = !closed.has(each.dataset.path)));
    restore();
    this.markPresence();
  }

  /** Returns a function that gives the focus back, and to a field for a name what was typed in it. */
  restorer(active) {
    const { path, adds } = active?.dataset ?? {};
    if (path !== undefined) return () => this.find(path)?.focus();
    if (adds === undefined) return () => {};
    const { value, selectionStart, selectionEnd } = active;
    return () => {
      const found = this.root.querySelector(`[data-adds="${CSS.escape(adds)}"]`);
      if (!found) return;
      found.value = value;
      found.focus();
      found.setSelectionRange(selectionStart, selectionEnd);
    };
  }

  find(path) {
    return this.root.querySelector(`[data-path="${CSS.escape(path)}"]`);
  }

  /** Scrolls to the value at a pointer and focuses it. */
  select(path) {
    const found = this.find(path) ?? this.root.querySelector(`[data-path^="${CSS.escape(path)}/"]`);
    for (let each = found?.parentElement; each && each !== this.root; each = each.parentElement)
      if (each.tagName === "DETAILS") each.open = true;
    (found?.tagName === "DETAILS" ? found.firstChild : found)?.focus();
    found?.scrollIntoView({ block: "center" });
  }

  field(path, value, label) {
    const text = shown(value);
    const input = element("input", {
      class: `value ${kindOf(value)}`,
      value: text,
      defaultValue: text,
      readOnly: !this.editable,
      autocomplete: "off",
      spellcheck: false,
      size: Math.min(Math.max(text.length, 4), 40),
      "aria-label": label,
      data: { path },
    });
    input.addEventListener("change", () => this.changed(input, path));
    input.addEventListener("blur", () => this.draw());
    return input;
  }

  changed(input, path) {
    const next = written(input.value);
    if (input.value === input.defaultValue) return;
    input.defaultValue = input.value;
    if (this.valueAt(path) === undefined) this.propose(null, { patch: [{ op: "add", path, value: next }] });
    else this.propose({ path }, { value: next });
  }

  /** Sends one edit. The base is the revision that the person saw. */
  async propose(region, edit) {
    try {
      const answer = await this.session.request("propose", {
        base: this.revision,
        region,
        edit,
        stale: "merge",
      });
      if (answer.conflict) announce(spoken(answer), "warning");
      await this.session.refresh();
    } catch (error) {
      announce(error.message, "error");
      this.drawn = "";
      this.draw();
    }
  }

  /** A button that deletes a value. */
  deletion(path) {
    return element("button", {
      type: "button",
      class: "quiet",
      textContent: "Delete",
      "aria-label": `Delete ${path}`,
      onclick: () => this.propose(null, { patch: [{ op: "remove", path }] }),
    });
  }

  focused(target) {
    const path = target.dataset.path ?? target.closest("[data-path]")?.dataset.path;
    if (path === undefined || path === this.here) return;
    this.here = path;
    this.root.dispatchEvent(new Event("select"));
  }

  markPresence() {
    this.root.querySelectorAll("[data-here]").forEach((each) => {
      delete each.dataset.here;
    });
    for (const { id, name, at } of this.session.present.values()) {
      if (id === this.session.you.id || at?.region?.path === undefined) continue;
      const found = this.find(at.region.path);
      if (found) (found.closest("td, .leaf, details") ?? found).dataset.here = name ?? id;
    }
  }

  valueAt(path) {
    return valueAt(this.session.view.value, path);
  }

  close() {}
}
