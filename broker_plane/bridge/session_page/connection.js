/**
 * The JSON socket of a session: requests with their answers, and events.
 *
 * Events: "hello", "entries", "presence" and "resync" with the frame as `detail`, "online" (boolean), and "ended"
 * (`{code, message}`) when the grant or the session has ended. A broken connection is reopened with back-off; the
 * next "hello" has the newest state.
 */

const PROTOCOL = "broker-plane.session.v1";
const FIRST_DELAY = 300;
const LONGEST_DELAY = 10_000;
const ANSWER_MILLISECONDS = 60_000;

/** An error in an answer of the plane; `details` are its other members. */
export class SessionError extends Error {
  constructor({ code = "error", message = "", ...more }) {
    super(message || code);
    this.code = code;
    this.details = more;
    this.retryAfter = more.retry_after;
  }
}

/** The addresses of the session, derived from the page's own: `…/v1/sessions/<grant>/page`. */
export function addressesOf(location) {
  const http = new URL(".", location).href.replace(/\/$/, "");
  const websocket = http.replace(/^http/, "ws");
  const slash = websocket.lastIndexOf("/");
  return { http, websocket, base: websocket.slice(0, slash), grant: websocket.slice(slash + 1) };
}

/** Sends one request over HTTP. Rejects with SessionError. */
export async function post(addresses, request) {
  const answer = await fetch(addresses.http, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
    cache: "no-store",
  });
  const fields = await answer.json().catch(() => ({}));
  if (answer.ok) return fields;
  throw new SessionError({
    ...fields,
    status: answer.status,
    message: fields.detail ?? fields.title ?? answer.statusText,
  });
}

export class Connection extends EventTarget {
  constructor(addresses, parameters) {
    super();
    this.addresses = addresses;
    this.parameters = parameters;
    this.revision = 0;
    this.online = false;
    this.ended = false;
    this.waiting = new Map();
    this.next = 1;
    this.failures = 0;
  }

  open() {
    const query = new URLSearchParams(this.parameters);
    const socket = new WebSocket(`${this.addresses.websocket}?${query}`, PROTOCOL);
    this.socket = socket;
    socket.addEventListener("message", (event) => this.hear(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => this.closed(event));
  }

  /** Sends a request; rejects with SessionError, also if the connection breaks before the answer. */
  request(operation, fields = {}) {
    if (!this.online || this.socket.readyState !== WebSocket.OPEN)
      return Promise.reject(new SessionError({ code: "offline", message: "There is no connection now" }));
    const id = this.next++;
    this.socket.send(JSON.stringify({ do: operation, id, ...fields }));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.settle(id, { error: { code: "timeout", message: "No answer came in a minute" } }),
        ANSWER_MILLISECONDS,
      );
      this.waiting.set(id, { resolve, reject, timer });
    });
  }

  hear(frame) {
    if ("id" in frame && ("ok" in frame || "error" in frame)) this.settle(frame.id, frame);
    else if (frame.hello) this.greeted(frame.hello);
    else if (frame.end) this.end(frame.end);
    else for (const kind of ["entries", "presence", "resync"]) if (kind in frame) this.tell(kind, frame[kind]);
  }

  greeted(view) {
    this.online = true;
    this.failures = 0;
    this.tell("hello", view);
    this.tell("online", true);
  }

  settle(id, frame) {
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    this.waiting.delete(id);
    clearTimeout(waiting.timer);
    if (frame.error) waiting.reject(new SessionError(frame.error));
    else waiting.resolve(frame.ok);
  }

  end(error) {
    this.ended = true;
    this.tell("ended", error);
  }

  async closed(event) {
    const was = this.online;
    this.online = false;
    const lost = { code: "offline", message: "The connection broke before the answer came" };
    for (const id of [...this.waiting.keys()]) this.settle(id, { error: lost });
    if (!this.ended && event.code >= 4400 && event.code < 4500 && event.code !== 4429)
      this.end({ code: String(event.code - 4000), message: event.reason });
    if (this.ended) return;
    if (was) this.tell("online", false);
    this.failures += 1;
    await this.learnWhy(was);
    const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.failures) * (0.5 + Math.random() / 2);
    if (!this.ended) setTimeout(() => this.open(), delay);
  }

  /** A browser does not say why an upgrade was refused: ask over HTTP whether trying again can help. */
  async learnWhy(was) {
    if (was) return;
    try {
      await post(this.addresses, { do: "log", limit: 1 });
    } catch (error) {
      if ([401, 403, 404, 410].includes(error.details?.status)) this.end({ code: error.code, message: error.message });
    }
  }

  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}
