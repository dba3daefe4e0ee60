/** Verdicts on the whole artifact: approve, request changes; and confirm. */

import { announce, ask, byId } from "./dom.js";
import { verdictsOf } from "./people.js";

export class Verdicts {
  constructor(session) {
    this.session = session;
    byId("approve").addEventListener("click", () => this.approve());
    byId("request-changes").addEventListener("click", () => this.requestChanges());
    byId("confirm").addEventListener("click", () => this.confirm());
    for (const kind of ["view", "ended"]) session.addEventListener(kind, () => this.draw());
    this.draw();
  }

  draw() {
    const { view } = this.session;
    const may = this.session.can("note");
    for (const id of ["approve", "request-changes", "confirm"]) byId(id).hidden = !may;
    const own = verdictsOf(view).get(view.you.id);
    byId("approve").setAttribute("aria-pressed", String(own === "approve"));
    byId("request-changes").setAttribute("aria-pressed", String(own === "request_changes"));
    const confirmed = (view.confirmed ?? []).includes(view.you.name);
    byId("confirm").disabled = confirmed;
    byId("confirm").textContent = confirmed ? "Confirmed" : "Confirm";
  }

  async approve() {
    const text = "You say that the artifact is good as it is.";
    const comment = await ask({ title: "Approve", text, confirm: "Approve", comment: "Comment (optional)" });
    if (comment !== null) await this.say("approve", comment || "Approved");
  }

  async requestChanges() {
    const text = "You say what must change before you approve.";
    const comment = await ask({
      title: "Request changes",
      text,
      confirm: "Request changes",
      comment: "What must change",
      required: true,
    });
    if (comment !== null) await this.say("request_changes", comment);
  }

  async say(verdict, text) {
    try {
      await this.session.request("note", { type: "verdict", verdict, text });
      announce(verdict === "approve" ? "You approved" : "You requested changes");
      await this.session.refresh();
    } catch (error) {
      announce(error.message, "error");
    }
  }

  async confirm() {
    const text = "You are done. When all expected participants have confirmed, the session closes.";
    if ((await ask({ title: "Confirm", text, confirm: "Confirm" })) === null) return;
    try {
      const { missing = [] } = await this.session.request("confirm");
      announce(missing.length ? `Confirmed. Missing: ${missing.join(", ")}` : "Confirmed");
      await this.session.refresh();
    } catch (error) {
      announce(error.message, "error");
    }
  }
}
