"""Garbage collection: deletes bodies that are used up, and chunks that nothing refers to."""
