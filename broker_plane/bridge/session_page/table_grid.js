/** A table as a grid that can be edited cell by cell. */

import { element } from "./dom.js";
import { Structured } from "./structured.js";
import { below } from "./values.js";

const MOST_ROWS = 500;
/** Rows that are searched for the names of columns. */
const MOST_INSPECTED = 10_000;

export class TableGrid extends Structured {
  constructor(session, root) {
    super(session, root);
    this.page = 0;
    this.columns = new Set();
    root.addEventListener("keydown", (event) => this.move(event));
  }

  build(rows) {
    const columns = this.columnsOf(rows);
    const start = Math.min(this.page * MOST_ROWS, Math.max(0, rows.length - 1));
    const head = element(
      "tr",
      {},
      element("th", { scope: "col" }, "#"),
      columns.map((name) => element("th", { scope: "col" }, name)),
    );
    const body = rows.slice(start, start + MOST_ROWS).map((row, index) => this.row(start + index, row, columns));
    return element(
      "div",
      {},
      element("div", { class: "grid" }, element("table", {}, element("thead", {}, head), element("tbody", {}, body))),
      this.editable &&
        element("button", {
          type: "button",
          textContent: "Add a row",
          onclick: () =>
            this.propose(null, {
              patch: [{ op: "add", path: "/-", value: Object.fromEntries(columns.map((name) => [name, null])) }],
            }),
        }),
      rows.length > MOST_ROWS && this.pager(rows.length),
    );
  }

  row(index, row, columns) {
    const cells = columns.map((name) =>
      element("td", {}, this.field(below(`/${index}`, name), row[name] ?? null, `${name}, row ${index + 1}`)),
    );
    return element(
      "tr",
      {},
      element("th", { scope: "row", data: { path: `/${index}` }, tabIndex: -1 }, String(index + 1)),
      cells,
      this.editable && element("td", {}, element("span", { class: "tools" }, this.deletion(`/${index}`))),
    );
  }

  pager(count) {
    const last = Math.ceil(count / MOST_ROWS) - 1;
    const turn = (step) => {
      this.page = Math.max(0, Math.min(last, this.page + step));
      this.draw();
    };
    return element(
      "p",
      { class: "pager" },
      element("button", { type: "button", onclick: () => turn(-1), disabled: this.page === 0 }, "Previous rows"),
      ` Page ${this.page + 1} of ${last + 1} `,
      element("button", { type: "button", onclick: () => turn(1), disabled: this.page === last }, "Next rows"),
    );
  }

  /** The names of the columns, in the order in which they were first seen. */
  columnsOf(rows) {
    for (const row of rows.slice(0, MOST_INSPECTED)) for (const name of Object.keys(row)) this.columns.add(name);
    const present = new Set(rows.slice(0, MOST_INSPECTED).flatMap((row) => Object.keys(row)));
    return [...this.columns].filter((name) => present.has(name));
  }

  select(path) {
    const row = Number(path.split("/")[1]);
    if (Number.isInteger(row)) this.page = Math.floor(row / MOST_ROWS);
    this.draw();
    super.select(path);
  }

  /** In a grid, Enter and the up and down arrow keys change the row. */
  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, Enter: 1 }[event.key];
    const row = event.target.matches?.("td input.value") && event.target.closest("tr");
    if (!step || !row) return;
    const cell = [...row.children].indexOf(event.target.closest("td"));
    const next = (step > 0 ? row.nextSibling : row.previousSibling)?.children[cell]?.querySelector("input");
    event.preventDefault();
    if (next) next.focus();
    else event.target.blur();
  }
}
