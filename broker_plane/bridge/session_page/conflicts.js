/** Open conflicts: two edits of one region, side by side, and the choice between them. */

import { announce, byId, colorOf, diffOf, element, renderList } from "./dom.js";

export class Conflicts {
  constructor(session, places) {
    this.session = session;
    this.places = places;
    /** By conflict: what has changed in its region since, and the revision up to which this person has seen it. */
    this.seen = new Map();
    for (const kind of ["view", "policy"]) session.addEventListener(kind, () => this.draw());
    this.draw();
  }

  draw() {
    const open = (this.session.view.conflicts ?? []).filter((each) => each.status === "open");
    renderList(
      byId("conflicts-list"),
      open,
      (each) => each.id,
      (each) => this.conflict(each),
      JSON.stringify([this.mayDecide, ...this.seen]),
    );
    byId("conflicts-count").textContent = String(open.length);
    byId("conflicts-empty").hidden = open.length > 0;
    byId("tab-conflicts").classList.toggle("attention", open.length > 0);
  }

  /** Whether the policy lets this participant decide. The plane checks it again. */
  get mayDecide() {
    const { you } = this.session.view;
    const { arbitration, arbiter } = this.session.policy;
    if (!this.session.can("decide")) return false;
    if (arbitration === "arbiter") return you.name === arbiter || you.role === "owner";
    if (arbitration === "owner") return you.role === "owner";
    return you.role === "editor" || you.role === "owner";
  }

  conflict(each) {
    const { id, region } = each;
    const own = element("textarea", {
      rows: 3,
      "aria-label": "Another text for this region",
      value: textOf(each.theirs),
    });
    return element(
      "li",
      { class: "conflict" },
      region &&
        element(
          "button",
          { type: "button", class: "quiet", data: { action: "go" }, onclick: () => this.places.go({ region }) },
          `Show: ${this.places.describe({ region })}`,
        ),
      element(
        "div",
        { class: "sides" },
        this.side(each, "ours", "In the artifact"),
        this.side(each, "theirs", "The other edit"),
      ),
      this.seen.has(id) &&
        element(
          "div",
          { class: "since" },
          element("p", {}, "Others have changed this region since. Your decision would replace that:"),
          diffOf(this.seen.get(id).diff),
        ),
      this.mayDecide
        ? element(
            "details",
            {},
            element("summary", {}, "Write another one"),
            own,
            element(
              "button",
              {
                type: "button",
                data: { action: "other" },
                onclick: () => this.decide(id, { edit: this.editOf(own.value) }),
              },
              "Use this",
            ),
          )
        : element("p", { class: "words" }, "Another participant decides this conflict."),
    );
  }

  side({ id, region, ...sides }, choice, title) {
    const side = sides[choice];
    const name = this.session.nameOf(side.participant);
    const [before, after] = this.places.context(region);
    return element(
      "section",
      { class: "side", "aria-label": `${title}, by ${name}` },
      element("h4", {}, title),
      element(
        "p",
        { class: "meta" },
        element("span", { class: `name ${colorOf(name)}` }, name),
        side.intent && element("span", { class: "badge" }, side.intent),
        // The other edit was not applied: its `revision` is that of the artifact that it met.
        choice === "ours" && side.revision && element("span", { class: "words" }, `revision ${side.revision}`),
      ),
      element(
        "pre",
        { class: "content", tabIndex: 0, role: "group", "aria-label": `Text of ${title}` },
        before,
        element("mark", {}, textOf(side)),
        after,
      ),
      this.mayDecide &&
        element(
          "button",
          { type: "button", data: { action: choice }, onclick: () => this.decide(id, choice) },
          choice === "ours" ? "Keep this" : "Take this",
        ),
    );
  }

  editOf(text) {
    if (this.session.view.kind === "text") return { text };
    try {
      return { value: JSON.parse(text) };
    } catch {
      return { value: text };
    }
  }

  /** Decides, unless others have changed the region: then the difference is shown, and the person decides again. */
  async decide(conflict, choice) {
    const base = this.seen.get(conflict)?.revision;
    try {
      await this.session.request("decide", { conflict, choice, ...(base && { base }) });
      this.seen.delete(conflict);
      announce("Decided");
      await this.session.refresh();
    } catch (error) {
      if (error.code !== "stale_base") return announce(error.message, "error");
      this.seen.set(conflict, { revision: error.details.revision, diff: error.details.diff });
      announce("Others have changed this region since. Read the difference, and decide again.", "error");
      this.draw();
    }
  }
}

/** The text of one side; a patch is shown as JSON. */
function textOf(side = {}) {
  if (side.text !== undefined && side.text !== null) return side.text;
  if (side.value !== undefined) return JSON.stringify(side.value, null, 2);
  return side.patch === undefined ? "(deleted)" : JSON.stringify(side.patch, null, 2);
}
