/** Describes the answer to a proposed edit in a sentence. */
export function spoken({ revision, stale, conflict }) {
  if (conflict?.winner === "theirs")
    return `Stored, as revision ${revision}, in place of an edit whose intent has less priority.`;
  if (conflict?.winner) return "Your edit overlaps one whose intent has priority, so it was not applied.";
  if (conflict) return "Your edit overlaps another one. Both are kept as a conflict that waits for a decision.";
  return stale
    ? `Merged, as revision ${revision}. Others had edited since you began.`
    : `Stored, as revision ${revision}`;
}
