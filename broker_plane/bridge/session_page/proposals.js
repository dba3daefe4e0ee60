/** Proposals that undo the edits of one participant or intent, and their acceptance. */

import { announce, ask, byId, diffOf, element, renderList } from "./dom.js";

const MOST_SHOWN = 20;

export class Proposals {
  constructor(session) {
    this.session = session;
    session.addEventListener("view", () => this.draw());
    byId("undo-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.undo();
    });
    byId("undo-by").addEventListener("change", () => this.choices());
    this.draw();
  }

  draw() {
    const proposals = this.session.view.proposals ?? [];
    renderList(
      byId("proposals-list"),
      proposals,
      (each) => each.id,
      (each) => this.proposal(each),
      String(this.session.can("accept")),
    );
    byId("proposals-count").textContent = String(proposals.length);
    byId("proposals-empty").hidden = proposals.length > 0;
    byId("undo-form").hidden = !this.session.can("undo");
    this.choices();
  }

  /** Fills the list of participants or intents to choose from. */
  choices() {
    const { participants = [], intents = {} } = this.session.view;
    const editors = participants.filter(({ role }) => role === "editor" || role === "owner");
    const list =
      byId("undo-by").value === "intent"
        ? Object.keys(intents).map((name) => [name, name])
        : editors.map(({ id, name, intent }) => [id, intent ? `${name} (${intent})` : name]);
    const select = byId("undo-what");
    const chosen = select.value;
    if (JSON.stringify(list) === select.dataset.list) return;
    select.dataset.list = JSON.stringify(list);
    select.replaceChildren(...list.map(([value, text]) => element("option", { value }, text)));
    if (list.some(([value]) => value === chosen)) select.value = chosen;
  }

  proposal(each) {
    const { id } = each;
    const place = element("div");
    const by = this.session.nameOf(each.participant);
    return element(
      "li",
      { class: "proposal" },
      element(
        "p",
        { class: "meta" },
        element("strong", {}, each.title ?? `Proposal ${id}`),
        by && element("span", { class: "words" }, `by ${by}`),
      ),
      element("p", { class: "words" }, `Undoes revision ${each.revisions.join(", ")}`),
      element(
        "button",
        { type: "button", class: "quiet", data: { action: "undoes" }, onclick: () => this.show(each, place) },
        "Show what it undoes",
      ),
      place,
      this.session.can("accept") &&
        element("button", { type: "button", data: { action: "accept" }, onclick: () => this.accept(id) }, "Accept"),
    );
  }

  /** Shows the differences of the revisions that a proposal undoes. */
  async show({ revisions }, place) {
    if (place.firstChild) {
      place.replaceChildren();
      return;
    }
    try {
      for (const to of revisions.slice(-MOST_SHOWN)) {
        const { diff } = await this.session.request("diff", { from: to - 1, to });
        place.append(element("p", { class: "words" }, `Revision ${to}`), diffOf(diff));
      }
    } catch (error) {
      announce(error.message, "error");
    }
  }

  async undo() {
    const by = byId("undo-by").value;
    const since = Number(byId("undo-since").value || 0);
    try {
      const answer = await this.session.request("undo", { [by]: byId("undo-what").value, ...(since ? { since } : {}) });
      await this.session.refresh();
      announce(`The proposal is in the list. It undoes revision ${answer.revisions.join(", ")}.`);
    } catch (error) {
      announce(error.message, "error");
    }
  }

  async accept(proposal) {
    const sure = await ask({ title: "Accept", text: "The proposal becomes a new revision.", confirm: "Accept it" });
    if (sure === null) return;
    try {
      const answer = await this.session.request("accept", { proposal });
      announce(`Accepted, as revision ${answer.revision}`);
      await this.session.refresh();
    } catch (error) {
      announce(error.message, "error");
    }
  }
}
