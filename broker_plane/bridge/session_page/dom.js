/** Builds elements. Text is always set as text: nothing from a session is parsed as HTML. */

/** Creates an element. Names with a dash become attributes, `on…` become listeners, others properties. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const byId = (id) => document.getElementById(id);

/**
 * Shows `items` in `container`. Only elements whose item has changed are rebuilt, so that the focus is kept. If the
 * focused element is rebuilt, the element with the same `data-action` in its successor gets the focus.
 */
export function renderList(container, items, keyOf, build, more = "") {
  const old = new Map([...container.children].map((child) => [child.dataset.key, child]));
  const focused = container.contains(document.activeElement) ? document.activeElement : null;
  const focusedKey = [...container.children].find((child) => child.contains(focused))?.dataset.key;
  const wanted = items.map((item) => {
    const key = String(keyOf(item));
    const signature = JSON.stringify(item) + more;
    const existing = old.get(key);
    if (existing?.signature === signature) return existing;
    const made = build(item);
    made.dataset.key = key;
    made.signature = signature;
    return made;
  });
  wanted.forEach((child, index) => {
    if (container.children[index] !== child) container.insertBefore(child, container.children[index] ?? null);
  });
  while (container.children.length > wanted.length) container.lastChild.remove();
  if (focused && !focused.isConnected) {
    const successor = wanted.find((child) => child.dataset.key === focusedKey);
    successor?.querySelector(`[data-action="${focused.dataset.action}"]`)?.focus();
  }
}

/** A function that calls `draw` a moment later, once for all calls until then. */
export function coalesced(draw, milliseconds = 50) {
  let timer = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      draw();
    }, milliseconds);
  };
}

/** The class for a participant's color, the same for a name everywhere. */
export function colorOf(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 8191;
  return `color-${sum % 8}`;
}

/** A time of day; its title has the date. */
export function timeOf(seconds) {
  const date = new Date(seconds * 1000);
  return element("time", { dateTime: date.toISOString(), title: date.toLocaleString() }, date.toLocaleTimeString());
}

/** A unified diff, line by line. Lines keep their signs, so that it can be read without colors. */
export function diffOf(text) {
  const kinds = { "+": "added", "-": "removed", "@": "hunk" };
  const lines = text.split("\n").map((line) => {
    const heading = line.startsWith("+++") || line.startsWith("---");
    return element("span", { class: `line ${heading ? "heading" : (kinds[line[0]] ?? "")}` }, `${line}\n`);
  });
  return element("pre", { class: "diff", tabIndex: 0, role: "group", "aria-label": "Difference" }, lines);
}

const announcer = () => byId("messages");

/** Shows a message, which screen readers announce. Errors stay until they are closed. */
export function announce(text, kind = "info") {
  const close = element("button", { type: "button", class: "quiet", "aria-label": "Close this message" }, "×");
  const message = element(
    "div",
    { class: `message ${kind}`, role: kind === "error" ? "alert" : "status" },
    element("span", {}, text),
    close,
  );
  close.addEventListener("click", () => message.remove());
  announcer().append(message);
  while (announcer().children.length > 4) announcer().firstChild.remove();
  if (kind !== "error") setTimeout(() => message.remove(), 8000);
}

let answered = null; // tells the open question its answer

/** Asks for confirmation, and for a comment if `comment` is its label. Resolves to null if canceled, else to the comment. */
export function ask({ title, text, confirm, comment = null, required = false }) {
  const dialog = byId("ask");
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text;
  byId("ask-confirm").textContent = confirm;
  byId("ask-comment-row").hidden = comment === null;
  byId("ask-comment-label").textContent = comment ?? "";
  const input = byId("ask-comment");
  input.value = "";
  input.required = required;
  dialog.showModal();
  (comment === null ? byId("ask-confirm") : input).focus();
  return new Promise((resolve) => {
    answered = resolve;
  });
}

/** Sets up the dialog of `ask`. Ctrl+Enter in the comment confirms. */
export function prepareAsk() {
  const dialog = byId("ask");
  const input = byId("ask-comment");
  // The event "close" comes later, when the next question may be open: an answer must not wait for it.
  const answer = (given) => {
    dialog.close();
    answered?.(given);
    answered = null;
  };
  const confirm = () => {
    if (input.required && !input.value.trim()) input.reportValidity();
    else answer(input.value.trim());
  };
  byId("ask-confirm").addEventListener("click", confirm);
  byId("ask-cancel").addEventListener("click", () => answer(null));
  dialog.addEventListener("close", () => {
    if (!dialog.open) answer(null); // closed by the Escape key
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) confirm();
  });
}
