"""Rows: the body encoding, projection, mapping, merging, summaries and views. Pure: no clock, no I/O."""
