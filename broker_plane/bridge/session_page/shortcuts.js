/** Tabs and keyboard shortcuts. All shortcuts have Alt+Shift, so that none of them types a letter. */

import { byId } from "./dom.js";

const TABS = ["people", "notes", "history", "conflicts", "proposals"];

/** Shows one of the panels and, with `focus`, focuses its tab. */
export function showPanel(name, focus = false) {
  for (const each of TABS) {
    const selected = each === name;
    const tab = byId(`tab-${each}`);
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    byId(`panel-${each}`).hidden = !selected;
    if (selected && focus) tab.focus();
  }
}

function prepareTabs() {
  TABS.forEach((name, index) => {
    const tab = byId(`tab-${name}`);
    tab.addEventListener("click", () => showPanel(name));
    tab.addEventListener("keydown", (event) => {
      const places = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: TABS.length - 1 };
      if (!(event.key in places)) return;
      event.preventDefault();
      showPanel(TABS[(places[event.key] + TABS.length) % TABS.length], true);
    });
  });
}

/** Sets up the shortcuts that the help dialog of the page lists. */
export function prepareShortcuts(artifact) {
  prepareTabs();
  const press = (id) => () => !byId(id).hidden && !byId(id).disabled && byId(id).click();
  const help = () => byId("help").showModal();
  byId("show-help").addEventListener("click", help);
  byId("help-close").addEventListener("click", () => byId("help").close());
  const actions = {
    KeyE: () => artifact.focus(),
    KeyP: () => showPanel("people", true),
    KeyN: () => {
      showPanel("notes");
      byId("note-form").hidden ? byId("tab-notes").focus() : byId("note-text").focus();
    },
    KeyH: () => showPanel("history", true),
    KeyC: () => showPanel("conflicts", true),
    KeyU: () => showPanel("proposals", true),
    KeyA: press("approve"),
    KeyR: press("request-changes"),
    KeyD: press("confirm"),
    KeyS: press("propose"),
    KeyK: help,
  };
  document.addEventListener("keydown", (event) => {
    if (!event.altKey || !event.shiftKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]"))
      return;
    const action = actions[event.code];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
