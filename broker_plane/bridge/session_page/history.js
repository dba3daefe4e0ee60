/** The revisions of a session with author, intent, time and difference, and rollback to any of them. */

import { announce, ask, byId, coalesced, colorOf, diffOf, element, renderList, timeOf } from "./dom.js";

const PAGE = 100;
/** Entries that are kept here; older ones are read again when somebody wants to see them. */
const MOST_KEPT = 1000;
const DRAW_MILLISECONDS = 200;
const WORDS = {
  created: "created the session",
  joined: "joined",
  left: "left",
  operation: "edited",
  reverted: "reverted",
  rolled_back: "rolled back",
  proposed: "proposed",
  conflict: "edits overlap",
  decided: "decided a conflict",
  noted: "wrote a note",
  leased: "leased a region",
  released: "released a region",
  confirmed: "confirmed",
  closed: "closed the session",
};
const CHANGES = new Set(["created", "operation", "reverted", "rolled_back"]);

export class History {
  constructor(session) {
    this.session = session;
    this.entries = [];
    this.opened = new Map();
    this.most = PAGE;
    this.kept = MOST_KEPT;
    this.drawSoon = coalesced(() => this.draw(), DRAW_MILLISECONDS);
    session.addEventListener("entries", ({ detail }) => this.add(detail));
    session.addEventListener("resync", () => this.load());
    session.addEventListener("view", () => this.drawSoon());
    byId("history-author").addEventListener("change", () => this.draw());
    byId("history-all").addEventListener("change", () => this.draw());
    byId("history-older").addEventListener("click", () => this.older());
    this.load();
  }

  async load() {
    this.entries = [];
    await this.read(Math.max(0, this.session.revision - PAGE));
  }

  /** Shows more entries, and reads them from the log if they are not here. */
  older() {
    this.most += PAGE;
    this.draw();
    const first = this.entries[0]?.revision ?? 1;
    if (this.chosen().length < this.most && first > 1)
      this.read(Math.max(0, first - 1 - PAGE), Math.min(PAGE, first - 1));
  }

  async read(after, limit = PAGE) {
    try {
      const { entries } = await this.session.request("log", { after, limit });
      this.add(entries);
    } catch (error) {
      announce(`The history cannot be read now: ${error.message}`, "error");
    }
  }

  add(entries) {
    const last = this.entries.at(-1)?.revision ?? 0;
    if (entries[0]?.revision > last) this.entries.push(...entries);
    else {
      const all = new Map([...this.entries, ...entries].map((entry) => [entry.revision, entry]));
      this.entries = [...all.values()].sort((one, other) => one.revision - other.revision);
      this.kept = Math.max(MOST_KEPT, this.entries.length);
    }
    this.entries.splice(0, this.entries.length - this.kept);
    this.drawSoon();
  }

  draw() {
    this.authors();
    const chosen = this.chosen();
    const shown = chosen.slice(-this.most).reverse();
    const may = this.session.can("rollback");
    renderList(
      byId("history-list"),
      shown,
      (entry) => entry.revision,
      (entry) => this.entry(entry),
      String(may),
    );
    byId("history-count").textContent = String(this.session.revision);
    byId("history-older").hidden = chosen.length <= this.most && (this.entries[0]?.revision ?? 1) <= 1;
  }

  /** The entries that the person wants to see, the oldest first. */
  chosen() {
    const author = byId("history-author").value;
    const all = byId("history-all").checked;
    return this.entries.filter(
      (entry) => (all || CHANGES.has(entry.kind)) && (!author || this.session.nameOf(entry.participant) === author),
    );
  }

  authors() {
    const select = byId("history-author");
    const names = [...new Set(this.entries.map((entry) => this.session.nameOf(entry.participant)))].sort();
    if (
      [...select.options]
        .slice(1)
        .map((option) => option.value)
        .join("\n") === names.join("\n")
    )
      return;
    const chosen = select.value;
    select.replaceChildren(
      element("option", { value: "" }, "everybody"),
      ...names.map((name) => element("option", { value: name }, name)),
    );
    select.value = names.includes(chosen) ? chosen : "";
  }

  entry(entry) {
    const name = this.session.nameOf(entry.participant);
    const { revision, kind, content = {} } = entry;
    const words = content.message || content.reason || content.text; // the text of a note
    const place = element("div", { class: "opened" });
    const open = element(
      "button",
      {
        type: "button",
        class: "quiet",
        data: { action: "diff" },
        "aria-expanded": "false",
        onclick: () => this.toggle(revision, place, open),
      },
      "What changed",
    );
    const may = this.session.can("rollback") && kind !== "closed";
    const item = element(
      "li",
      { class: `entry ${kind}` },
      element(
        "p",
        { class: "meta" },
        element("span", { class: "revision" }, String(revision)),
        element("span", { class: `name ${colorOf(name)}` }, name),
        element("span", {}, `${WORDS[kind] ?? kind}${kind === "rolled_back" ? ` to ${content.to}` : ""}`),
        entry.intent && element("span", { class: "badge" }, entry.intent),
        timeOf(entry.at),
      ),
      words && element("p", { class: "text" }, words),
      CHANGES.has(kind) &&
        element(
          "p",
          { class: "actions" },
          open,
          may &&
            element(
              "button",
              { type: "button", class: "quiet", data: { action: "rollback" }, onclick: () => this.rollback(revision) },
              `Roll back to ${revision}`,
            ),
        ),
      place,
    );
    if (this.opened.has(revision)) this.toggle(revision, place, open);
    return item;
  }

  async toggle(revision, place, button) {
    if (place.firstChild) {
      place.replaceChildren();
      this.opened.delete(revision);
      button.setAttribute("aria-expanded", "false");
      return;
    }
    button.setAttribute("aria-expanded", "true");
    try {
      const known = this.opened.get(revision) ?? (await this.diff(revision));
      this.opened.set(revision, known);
      place.replaceChildren(diffOf(known || "No difference in the artifact"));
    } catch (error) {
      announce(error.message, "error");
    }
  }

  async diff(revision) {
    if (revision > 1) return (await this.session.request("diff", { from: revision - 1, to: revision })).diff;
    const { value } = await this.session.request("show", { revision: 1 });
    return (typeof value === "string" ? value : JSON.stringify(value, null, 2)).replace(/^/gm, "+");
  }

  async rollback(revision) {
    const text = `The artifact becomes what it was at revision ${revision}. This is a new revision, so nothing is lost.`;
    const sure = await ask({ title: "Roll back", text, confirm: `Roll back to ${revision}` });
    if (sure === null) return;
    try {
      const answer = await this.session.request("rollback", { to: revision });
      announce(`Rolled back to ${revision}, as revision ${answer.revision}`);
    } catch (error) {
      announce(error.message, "error");
    }
  }
}
