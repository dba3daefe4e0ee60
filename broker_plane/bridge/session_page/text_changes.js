/**
 * Changes of a text: lists of components as in ot-text-unicode, counted in UTF-16 units as strings are in a browser.
 *
 * A component is a number (units that stay), a string (inserted) or `{d: n}` (units deleted). A change never separates
 * the two units of a character outside the BMP. On the wire the counts are code points.
 */

const MOST_CELLS = 4_000_000;

/** Adds a component and joins it with the last one of the same kind. */
function push(ops, part) {
  if (part === "" || part === 0 || part.d === 0) return;
  const last = ops.at(-1);
  if (typeof part === "number" && typeof last === "number") ops[ops.length - 1] = last + part;
  else if (typeof part === "string" && typeof last === "string") ops[ops.length - 1] = last + part;
  else if (part.d && last?.d) ops[ops.length - 1] = { d: last.d + part.d };
  else ops.push(part);
}

function trimmed(ops) {
  while (typeof ops.at(-1) === "number") ops.pop();
  return ops;
}

/** The text after a change. */
export function applyOps(text, ops) {
  const parts = [];
  let at = 0;
  for (const part of ops) {
    if (typeof part === "string") parts.push(part);
    else if (typeof part === "number") parts.push(text.slice(at, (at += part)));
    else at += part.d;
  }
  parts.push(text.slice(at));
  return parts.join("");
}

/** The inverse of `ops`; `text` is the text before it. */
export function invertOps(ops, text) {
  const inverse = [];
  let at = 0;
  for (const part of ops) {
    if (typeof part === "string") push(inverse, { d: part.length });
    else if (typeof part === "number") push(inverse, part);
    else push(inverse, text.slice(at, at + part.d));
    if (typeof part !== "string") at += part.d ?? part;
  }
  return trimmed(inverse);
}

/** Reads components piece by piece. */
class Reader {
  constructor(ops) {
    this.ops = ops;
    this.index = 0;
    this.offset = 0;
  }

  /** The next component, which covers at most `most` units of the text. */
  take(most) {
    const part = this.ops[this.index];
    if (part === undefined) return most;
    if (typeof part === "string") {
      this.index += 1;
      return part;
    }
    const length = (typeof part === "number" ? part : part.d) - this.offset;
    const taken = Math.min(length, most);
    this.offset += taken;
    if (taken === length) {
      this.index += 1;
      this.offset = 0;
    }
    return typeof part === "number" ? taken : { d: taken };
  }

  get inserts() {
    return typeof this.ops[this.index] === "string";
  }
}

/**
 * Transforms `ops` to apply after `other`; both were made to the same text. Of two insertions at one position, that of
 * the side "left" comes first.
 */
export function transformOps(ops, other, side) {
  const result = [];
  const reader = new Reader(ops);
  for (const part of other) {
    if (typeof part === "string") {
      if (side === "left" && reader.inserts) push(result, reader.take(0));
      push(result, part.length);
      continue;
    }
    let left = typeof part === "number" ? part : part.d;
    while (left > 0) {
      const own = reader.take(left);
      if (typeof own === "string") {
        push(result, own);
        continue;
      }
      left -= typeof own === "number" ? own : own.d;
      if (typeof part === "number") push(result, own);
    }
  }
  while (reader.index < ops.length) push(result, reader.take(Infinity));
  return trimmed(result);
}

/** One change with the effect of `first` followed by `second`. */
export function composeOps(first, second) {
  const result = [];
  const [made, later] = [[...first], [...second]];
  const rest = (part, by) =>
    typeof part === "string" ? part.slice(by) : typeof part === "number" ? part - by : { d: part.d - by };
  const lengthOf = (part) => (typeof part === "number" ? part : (part.d ?? part.length));
  while (made.length && later.length) {
    if (made[0].d) push(result, made.shift());
    else if (typeof later[0] === "string") push(result, later.shift());
    else {
      const length = Math.min(lengthOf(made[0]), lengthOf(later[0]));
      const kept = typeof later[0] === "number";
      if (typeof made[0] === "string") push(result, kept ? made[0].slice(0, length) : "");
      else push(result, kept ? length : { d: length });
      for (const list of [made, later]) {
        const left = rest(list[0], length);
        if (lengthOf(left)) list[0] = left;
        else list.shift();
      }
    }
  }
  for (const part of [...made, ...later]) push(result, part);
  return trimmed(result);
}

/** Carries a position over a change. With `after`, text inserted at the position comes before it. */
export function transformPosition(position, ops, after = false) {
  let at = 0;
  let moved = position;
  for (const part of ops) {
    if (at > position || (at === position && !(typeof part === "string" && after))) break;
    if (typeof part === "string") moved += part.length;
    else if (typeof part === "number") at += part;
    else {
      moved -= Math.min(part.d, position - at);
      at += part.d;
    }
  }
  return moved;
}

const high = (unit) => unit >= 0xd800 && unit < 0xdc00;
const low = (unit) => unit >= 0xdc00 && unit < 0xe000;

/** `at`, moved by `step` (-1 or 1) if it is within a character. */
function aligned(text, at, step) {
  return high(text.charCodeAt(at - 1)) && low(text.charCodeAt(at)) ? at + step : at;
}

/** The replacement between two texts. `caret`, the position after typing, decides between equal ones. */
export function spliceOf(before, after, caret = after.length) {
  const shorter = Math.min(before.length, after.length);
  let end = 0;
  const mostEnd = Math.min(shorter, Math.max(0, after.length - caret));
  while (end < mostEnd && before.charCodeAt(before.length - 1 - end) === after.charCodeAt(after.length - 1 - end))
    end++;
  let start = 0;
  while (start < shorter - end && before.charCodeAt(start) === after.charCodeAt(start)) start++;
  while (
    end < shorter - start &&
    before.charCodeAt(before.length - 1 - end) === after.charCodeAt(after.length - 1 - end)
  )
    end++;
  start = Math.min(aligned(before, start, -1), aligned(after, start, -1));
  end = Math.min(
    before.length - aligned(before, before.length - end, 1),
    after.length - aligned(after, after.length - end, 1),
  );
  return { at: start, remove: before.length - end - start, insert: after.slice(start, after.length - end) };
}

/** A replacement as a change. */
export function opsOfSplice({ at, remove, insert }) {
  const ops = [];
  push(ops, at);
  push(ops, insert);
  push(ops, { d: remove });
  return trimmed(ops);
}

/** The change between two texts, compared by lines, so that distant edits stay separate. */
export function opsBetween(before, after) {
  const whole = spliceOf(before, after);
  const old = before.slice(whole.at, whole.at + whole.remove);
  const lines = [old, whole.insert].map((text) => text.match(/[^\n]*\n|[^\n]+$/g) ?? []);
  if (lines[0].length * lines[1].length > MOST_CELLS || Math.min(lines[0].length, lines[1].length) < 2)
    return opsOfSplice(whole);
  const ops = [];
  push(ops, whole.at);
  for (const [removed, added, kept] of lineHunks(...lines)) {
    const inner = spliceOf(removed, added);
    push(ops, inner.at);
    push(ops, inner.insert);
    push(ops, { d: inner.remove });
    push(ops, removed.length - inner.at - inner.remove + kept.length);
  }
  return trimmed(ops);
}

/** `[removed, added, kept after them]`, from the longest common subsequence of the lines. */
function lineHunks(old, next) {
  const width = next.length + 1;
  const longest = new Uint32Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = next.length - 1; j >= 0; j--)
      longest[i * width + j] =
        old[i] === next[j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
  const hunks = [];
  let [i, j, removed, added] = [0, 0, "", ""];
  while (i < old.length || j < next.length) {
    if (i < old.length && j < next.length && old[i] === next[j]) {
      hunks.push([removed, added, old[i]]);
      [i, j, removed, added] = [i + 1, j + 1, "", ""];
    } else if (j === next.length || (i < old.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1]))
      removed += old[i++];
    else added += next[j++];
  }
  hunks.push([removed, added, ""]);
  return hunks;
}

/** The number of code points before the unit `units`. */
export function pointsAt(text, units) {
  let points = 0;
  for (let at = 0; at < units; points++) at += width(text, at);
  return points;
}

/** The unit at which the code point `points` begins. */
export function unitsAt(text, points) {
  let at = 0;
  for (; points > 0 && at < text.length; points--) at += width(text, at);
  return at;
}

function width(text, at) {
  return high(text.charCodeAt(at)) && low(text.charCodeAt(at + 1)) ? 2 : 1;
}

/** Converts a change to code points; `text` is the text before it. */
export function toWire(ops, text) {
  let at = 0;
  return ops.map((part) => {
    if (typeof part === "string") return part;
    const length = typeof part === "number" ? part : part.d;
    const points = pointsAt(text.slice(at, (at += length)), length);
    return typeof part === "number" ? points : { d: points };
  });
}

/** Converts a change from code points; `text` is the text before it. Deletions may have the deleted text or its length. */
export function fromWire(ops, text) {
  let at = 0;
  return ops.map((part) => {
    if (typeof part === "string") return part;
    const points = typeof part === "number" ? part : part.d;
    const units = typeof points === "string" ? points.length : unitsAt(text.slice(at, at + 2 * points), points);
    at += units;
    return typeof part === "number" ? units : { d: units };
  });
}
