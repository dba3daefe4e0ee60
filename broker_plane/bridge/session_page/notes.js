/** The blackboard of a session: typed notes in threads. */

import { announce, byId, colorOf, element, renderList, timeOf } from "./dom.js";
import { wordOf } from "./people.js";

export class Notes {
  constructor(session, places) {
    this.session = session;
    this.places = places;
    this.thread = "";
    session.addEventListener("view", () => this.draw());
    byId("note-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("note-text").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("note-form").requestSubmit();
      if (event.key === "Escape") this.reply("");
    });
    byId("note-new").addEventListener("click", () => this.reply(""));
    this.draw();
  }

  draw() {
    const { notes = [], notes_left_out: left = 0 } = this.session.view;
    const threads = new Map();
    for (const note of notes) {
      const thread = note.thread || note.note;
      threads.set(thread, [...(threads.get(thread) ?? []), note]);
    }
    const shown = [...threads].reverse();
    renderList(
      byId("notes-list"),
      shown,
      ([id]) => id,
      ([id, list]) => this.threadOf(id, list),
      String(this.session.can("note")),
    );
    byId("notes-count").textContent = String(notes.length + left);
    byId("notes-left").hidden = !left;
    byId("notes-left").textContent = `${left} older notes are in the history: show all kinds of entries there.`;
    byId("notes-empty").hidden = notes.length > 0;
    byId("note-form").hidden = !this.session.can("note");
  }

  threadOf(id, notes) {
    return element(
      "li",
      { class: "thread" },
      element(
        "ol",
        { class: "plain" },
        notes.map((note) => this.note(note)),
      ),
      this.session.can("note") &&
        element(
          "button",
          { type: "button", class: "quiet", data: { action: "reply" }, onclick: () => this.reply(id, notes[0]) },
          "Reply",
        ),
    );
  }

  note(note) {
    const name = this.session.nameOf(note.participant);
    const { region, detached, quote } = note.anchor ?? {};
    return element(
      "li",
      { class: "note" },
      element(
        "p",
        { class: "meta" },
        element("span", { class: `badge type ${note.verdict ?? ""}` }, note.verdict ? wordOf(note.verdict) : note.type),
        element("span", { class: `name ${colorOf(name)}` }, name),
        note.at !== undefined && timeOf(note.at),
        note.revision !== undefined && element("span", { class: "words" }, `revision ${note.revision}`),
      ),
      element("p", { class: "text" }, note.text),
      region &&
        element(
          "button",
          {
            type: "button",
            class: "quiet",
            data: { action: `go-${note.note}` },
            onclick: () => this.places.go({ region }),
          },
          detached ? "Show where it was" : `Show: ${this.places.describe({ region })}`,
        ),
      detached && quote && element("p", { class: "words" }, `It was about “${quote}”, which has been removed.`),
    );
  }

  /** Chooses the thread for the next note; an empty text starts a new one. */
  reply(thread, first = null) {
    this.thread = thread;
    byId("note-about").textContent = first
      ? `Reply to ${this.session.nameOf(first.participant)}: ${first.text.slice(0, 60)}`
      : "A new thread";
    byId("note-new").hidden = !thread;
    const answer = [...byId("note-type").options].find((option) => option.value === "answer");
    answer.disabled = !thread;
    if (thread && first?.type === "question") byId("note-type").value = "answer";
    else if (byId("note-type").value === "answer") byId("note-type").value = "comment";
    byId("note-text").focus();
  }

  async send() {
    const text = byId("note-text").value.trim();
    if (!text) return;
    const region = byId("note-anchor").checked ? this.places.selected() : null;
    const note = { type: byId("note-type").value, text };
    if (this.thread) note.thread = this.thread;
    if (region) Object.assign(note, { anchor: { region: region.region }, base: region.base });
    try {
      await this.session.request("note", note);
      byId("note-text").value = "";
      this.reply("");
    } catch (error) {
      announce(error.message, "error");
    }
  }
}
