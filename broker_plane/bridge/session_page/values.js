/** JSON values and RFC 6901 pointers. */

/** The pointer of a member below `pointer`. */
export function below(pointer, name) {
  return `${pointer}/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** The value at a pointer; undefined if there is none. */
export function valueAt(value, pointer) {
  let found = value;
  for (const part of pointer.split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    if (found === null || typeof found !== "object" || !Object.hasOwn(found, name)) return undefined;
    found = found[name];
  }
  return found;
}

export function kindOf(value) {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** The text of a scalar for editing: strings have quotes only if they would be read as another value. */
export function shown(value) {
  if (typeof value !== "string") return JSON.stringify(value) ?? "";
  return readsAsOther(value) ? JSON.stringify(value) : value;
}

/** The value of an edited text: parsed if it is JSON, else the text itself. */
export function written(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function readsAsOther(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
