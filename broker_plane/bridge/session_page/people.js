/** The participants with role, intent, place and verdict. */

import { byId, coalesced, colorOf, element, renderList } from "./dom.js";

export class People {
  constructor(session, places) {
    this.session = session;
    this.places = places;
    const draw = coalesced(() => this.draw());
    for (const kind of ["view", "presence"]) session.addEventListener(kind, draw);
    this.draw();
  }

  draw() {
    const { participants, expected = [], confirmed = [], you } = this.session.view;
    const verdicts = verdictsOf(this.session.view);
    const shown = participants
      .map((each) => ({
        ...each,
        at: this.session.present.get(each.id)?.at,
        verdict: verdicts.get(each.id),
        you: each.id === you.id,
      }))
      .sort((one, other) => (other.present ?? 0) - (one.present ?? 0) || one.id.localeCompare(other.id));
    renderList(
      byId("people-list"),
      shown,
      (each) => each.id,
      (each) => this.person(each),
      this.places.version ?? "",
    );
    byId("people-count").textContent = String(shown.filter((each) => each.present).length);
    const missing = expected.filter((name) => !confirmed.includes(name));
    byId("expected").textContent = !expected.length
      ? "The owner closes this session."
      : missing.length
        ? `The session closes when all have confirmed. Missing: ${missing.join(", ")}.`
        : "All expected participants have confirmed.";
  }

  person(each) {
    const words = [each.role, each.intent, each.type].filter(Boolean).join(" · ");
    const where = each.at && !each.you ? this.places.describe(each.at) : null;
    return element(
      "li",
      { class: each.present ? "present" : "absent" },
      element("span", { class: `dot ${colorOf(each.name)}`, "aria-hidden": "true" }),
      element("span", { class: "name" }, each.name, each.you && " (you)"),
      element("span", { class: "words" }, words, !each.present && " · away"),
      each.verdict && element("span", { class: `badge ${each.verdict}` }, wordOf(each.verdict)),
      where &&
        element(
          "button",
          { type: "button", class: "quiet", data: { action: "go" }, onclick: () => this.places.go(each.at) },
          `at ${where}`,
        ),
    );
  }
}

/** The newest verdict of each participant. */
export function verdictsOf({ notes = [] }) {
  const found = new Map();
  for (const note of notes) if (note.type === "verdict") found.set(note.participant, note.verdict);
  return found;
}

export function wordOf(verdict) {
  return verdict === "approve" ? "approves" : "requests changes";
}
