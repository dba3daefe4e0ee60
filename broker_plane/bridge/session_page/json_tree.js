/** A JSON document as a tree that can be edited value by value. */

import { element } from "./dom.js";
import { Structured } from "./structured.js";
import { below, kindOf } from "./values.js";

export class JsonTree extends Structured {
  build(value) {
    return element("div", { class: "tree" }, this.node("", value, "document"));
  }

  node(path, value, name) {
    if (value === null || typeof value !== "object" || !Object.keys(value).length) {
      const input = this.field(path, value, `${name}, ${kindOf(value)}`);
      return element(
        "div",
        { class: "leaf" },
        element("span", { class: "name" }, name),
        input,
        this.tools(path, value),
      );
    }
    const list = Array.isArray(value);
    const count = Object.keys(value).length;
    const summary = element(
      "summary",
      {},
      element("span", { class: "name" }, name),
      ` ${list ? "list" : "object"} of ${count}`,
    );
    const members = this.members(value).map(([key, member]) => this.node(below(path, key), member, key));
    return element("details", { open: true, data: { path } }, summary, members, this.tools(path, value));
  }

  /** The members of a value. Yjs does not keep the order of an object's members, so they are sorted there. */
  members(value) {
    const found = Object.entries(value);
    const unordered = this.session.view.sync === "crdt" && !Array.isArray(value);
    return unordered ? found.sort(([one], [other]) => (one < other ? -1 : 1)) : found;
  }

  /** The buttons of a value: add a member to it, and delete it. */
  tools(path, value) {
    if (!this.editable) return null;
    const holds = value !== null && typeof value === "object";
    return element("span", { class: "tools" }, holds && this.adder(path, value), path && this.deletion(path));
  }

  adder(path, value) {
    const list = Array.isArray(value);
    const name = element("input", {
      size: 10,
      placeholder: "name",
      data: { adds: path },
      "aria-label": `Name of the new member of ${path || "the document"}`,
    });
    const add = () => {
      const member = name.value;
      if (!list && !member) return name.focus();
      name.value = "";
      return this.propose(null, {
        patch: [{ op: "add", path: list ? `${path}/-` : below(path, member), value: null }],
      });
    };
    name.addEventListener("keydown", (event) => event.key === "Enter" && add());
    return [
      !list && name,
      element("button", { type: "button", class: "quiet", onclick: add }, list ? "Add an item" : "Add a member"),
    ];
  }
}
