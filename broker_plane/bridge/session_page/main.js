/** The page of a session for people (SEP-2433, section 7). */

import { Artifact } from "./artifact.js";
import { Conflicts } from "./conflicts.js";
import { addressesOf, Connection, post } from "./connection.js";
import { announce, byId, diffOf, element, prepareAsk } from "./dom.js";
import { History } from "./history.js";
import { Leases } from "./leases.js";
import { Notes } from "./notes.js";
import { People } from "./people.js";
import { Proposals } from "./proposals.js";
import { spoken } from "./proposed.js";
import { Session } from "./session.js";
import { prepareShortcuts, showPanel } from "./shortcuts.js";
import { Verdicts } from "./verdicts.js";

const NAME = "broker-plane.name";
const ANONYMOUS = "anonymous";

async function begin() {
  prepareAsk();
  const addresses = addressesOf(location.href);
  let view;
  try {
    view = await post(addresses, { do: "show", type: "human" });
  } catch (error) {
    fail(error);
    return;
  }
  const named = view.you.name !== ANONYMOUS; // the grant has a name, or the session shows pseudonyms
  const parameters = { type: "human", ...(named ? {} : await askWho(addresses, view)) };
  byId("state").textContent = "Connecting…";
  const value = view.kind === "text" && view.sync === "crdt" ? { value: "0" } : {};
  const connection = new Connection(addresses, { ...parameters, ...value });
  const session = new Session(connection);
  session.addEventListener("view", () => start(session, addresses, parameters), { once: true });
  session.addEventListener("ended", ({ detail }) => ended(detail));
  connection.open();
}

/** Asks for name and intent if the grant has no name. The browser remembers the name. */
function askWho(addresses, { you, intents = {} }) {
  const [form, input, select] = [byId("join"), byId("join-name"), byId("join-intent")];
  const allowed = Object.keys(intents).filter((name) => !intents[name].roles || intents[name].roles.includes(you.role));
  select.replaceChildren(
    ...allowed.map((name) => element("option", { value: name, selected: name === you.intent }, name)),
  );
  byId("join-role").textContent = `Your role is ${you.role}.`;
  input.value = localStorage.getItem(NAME) ?? "";
  form.hidden = false;
  byId("loading").hidden = true;
  input.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const who = { name: input.value.trim().toLowerCase(), ...(select.value ? { intent: select.value } : {}) };
      try {
        await post(addresses, { do: "log", limit: 1, type: "human", ...who });
      } catch (error) {
        byId("join-error").textContent = error.message;
        return;
      }
      localStorage.setItem(NAME, who.name);
      form.hidden = true;
      resolve(who);
    });
  });
}

function start(session, addresses, parameters) {
  byId("loading").hidden = true;
  byId("room").hidden = false;
  const artifact = new Artifact(session, byId("artifact"), addresses, parameters);
  new People(session, artifact);
  new Leases(session, artifact);
  new Notes(session, artifact);
  new History(session);
  new Conflicts(session, artifact);
  new Proposals(session);
  new Verdicts(session);
  session.readPolicy();
  prepareShortcuts({
    focus: () =>
      artifact.isText ? artifact.editor.area.focus() : artifact.go({ region: { path: artifact.content.here } }),
  });
  showPanel("people");
  heading(session);
  saving(session, artifact);
  drafting(session, artifact);
  for (const kind of ["view", "entries", "ended"]) session.addEventListener(kind, () => heading(session));
  session.addEventListener("online", ({ detail }) => online(session, detail));
  artifact.addEventListener("select", () => selection(artifact));
  byId("note-text").addEventListener("focus", () => selection(artifact)); // the event of the selection may be late
}

function heading(session) {
  const { view } = session;
  document.title = `${view.kind} session, revision ${session.revision}`;
  byId("what").textContent = `${view.kind} · ${view.sync}`;
  byId("revision").textContent = `revision ${session.revision}`;
  byId("you").textContent = `${view.you.name}, ${view.you.role}${view.you.intent ? `, ${view.you.intent}` : ""}`;
  byId("editor-help").textContent = session.can("propose")
    ? "You can edit. Others see where you are."
    : view.status === "closed"
      ? "The session is closed."
      : `You can read. The role ${view.you.role} may not edit.`;
  closing(view);
}

/** Links to the result of a closed session. */
function closing(view) {
  const closed = view.status === "closed";
  byId("closed").hidden = !closed;
  if (!closed || byId("closed").dataset.drawn === view.result?.sha256) return;
  byId("closed").dataset.drawn = view.result?.sha256 ?? "";
  byId("closed").replaceChildren(
    element("strong", {}, "This session is closed. "),
    view.result?.resource_url
      ? element("a", { href: view.result.resource_url, rel: "noreferrer", id: "result" }, "Open the result")
      : "Its result is with the owner.",
    view.result?.sha256 && element("span", { class: "words" }, ` SHA-256 ${view.result.sha256}`),
  );
}

function online(session, now) {
  byId("state").textContent = now ? "Connected" : "No connection; trying again…";
  byId("state").classList.toggle("bad", !now);
  if (!now) announce("The connection broke. What you type is kept and sent later.", "warning");
}

function ended({ code, message }) {
  byId("state").textContent = "Ended";
  byId("state").classList.add("bad");
  if (byId("room").hidden) fail({ code, message });
  else announce(`The session ended for you: ${message || code}`, "error");
}

/** Shows whether the plane has stored every local edit. */
function saving(session, artifact) {
  const { content } = artifact;
  const lost = (text) => {
    byId("lost-text").value = text ?? "";
    byId("lost").hidden = text === undefined;
  };
  const show = (saved) => {
    const draft = session.view.sync === "patch";
    byId("saved").textContent = saved ? "All your changes are stored" : draft ? "Your draft is not sent" : "Storing…";
    byId("saved").classList.toggle("pending", !saved);
  };
  show(true);
  content.addEventListener?.("saved", ({ detail }) => show(detail));
  content.addEventListener?.("lost", ({ detail: { error, text } }) => {
    announce(`Your last change was not stored: ${error.message}`, "error");
    lost(text);
  });
  content.addEventListener?.("outranked", ({ detail }) => lost(detail.text));
  byId("lost-close").addEventListener("click", () => (byId("lost").hidden = true));
}

/** Sets up the form that sends the draft of a `patch` session. */
function drafting(session, artifact) {
  const { content } = artifact;
  if (!content.propose || !artifact.isText) return;
  const show = () => (byId("draft").hidden = !session.can("propose"));
  for (const kind of ["view", "ended"]) session.addEventListener(kind, show);
  show();
  content.addEventListener("draft", ({ detail }) => draft(session, detail));
  byId("propose").addEventListener("click", () => send(content));
  byId("discard").addEventListener("click", () => content.discard());
  byId("draft-since").addEventListener("click", () => since(session, content));
  artifact.editor.area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && content.dirty) send(content);
  });
  content.tell();
}

function draft(session, { dirty, base, revision }) {
  const behind = dirty && revision > base;
  byId("propose").disabled = byId("discard").disabled = !dirty;
  byId("draft-state").textContent = behind
    ? `The session is at revision ${revision}; your draft began at ${base}. What does not overlap is merged.`
    : "";
  byId("draft-since").hidden = !behind;
  if (!behind) byId("draft-diff").replaceChildren();
}

async function since(session, content) {
  try {
    const { diff } = await session.request("diff", { from: content.baseRevision, to: content.revision });
    byId("draft-diff").replaceChildren(diffOf(diff));
  } catch (error) {
    announce(error.message, "error");
  }
}

async function send(content) {
  try {
    const answer = await content.propose(byId("message").value.trim());
    byId("message").value = "";
    byId("draft-diff").replaceChildren(...(answer.stale && answer.diff ? [diffOf(answer.diff)] : []));
    announce(spoken(answer), answer.conflict ? "warning" : "info");
  } catch (error) {
    announce(error.message, "error");
    if (error.details?.diff) byId("draft-diff").replaceChildren(diffOf(error.details.diff));
  }
}

/** Shows in the note form which region the next note would be anchored to. */
function selection(artifact) {
  const found = artifact.selected();
  const anchor = byId("note-anchor");
  if (anchor.dataset.region === JSON.stringify(found)) return; // the person may have unchecked it
  anchor.dataset.region = JSON.stringify(found);
  anchor.disabled = !found;
  anchor.checked = found !== null;
  byId("note-anchor-text").textContent = found
    ? `About ${artifact.describe(found)}`
    : "About a selection: select something in the artifact first";
}

function fail(error) {
  byId("loading").hidden = true;
  byId("room").hidden = true;
  byId("failed").hidden = false;
  byId("failed-text").textContent = error.message || error.code || String(error);
}

await begin();
