/** Leases: regions that participants have reserved for a while, so that others can see what is being edited. */

import { announce, byId, colorOf, element, renderList } from "./dom.js";

const SECONDS = 60;

export class Leases {
  constructor(session, places) {
    this.session = session;
    this.places = places;
    byId("lease").addEventListener("click", () => this.lease());
    for (const kind of ["view", "ended"]) session.addEventListener(kind, () => this.draw());
    this.draw();
  }

  draw() {
    clearTimeout(this.timer);
    const now = Date.now() / 1000;
    const leases = (this.session.view.leases ?? []).filter((each) => each.until > now);
    renderList(
      byId("leases-list"),
      leases,
      (each) => each.lease,
      (each) => this.item(each),
      String(this.session.can("release")),
    );
    byId("lease").hidden = !this.session.can("lease");
    byId("leases").hidden = !leases.length && !this.session.can("lease");
    const next = Math.min(...leases.map((each) => each.until));
    if (leases.length) this.timer = setTimeout(() => this.session.refresh(), (next - now) * 1000 + 100);
  }

  item({ lease, participant, region, until }) {
    const { you } = this.session.view;
    const name = this.session.nameOf(participant);
    return element(
      "li",
      {},
      element("span", { class: `name ${colorOf(name)}` }, name),
      element("span", { class: "words" }, ` until ${new Date(until * 1000).toLocaleTimeString()} `),
      element(
        "button",
        { type: "button", class: "quiet", data: { action: "go" }, onclick: () => this.places.go({ region }) },
        `Show: ${this.places.describe({ region })}`,
      ),
      participant === you.id &&
        element(
          "button",
          {
            type: "button",
            class: "quiet",
            data: { action: "release" },
            onclick: () => this.call("release", { lease }),
          },
          "Release",
        ),
    );
  }

  lease() {
    const found = this.places.selected();
    if (found) this.call("lease", { region: found.region, seconds: SECONDS });
    else announce("Select something in the artifact first", "warning");
  }

  async call(operation, fields) {
    try {
      await this.session.request(operation, fields);
      await this.session.refresh();
    } catch (error) {
      announce(error.message, "error");
    }
  }
}
