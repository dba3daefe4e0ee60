"""Whether a tool's result is a table, and which: one recogniser for every server. Pure; see docs/shapes.md."""
