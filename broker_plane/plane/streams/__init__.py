"""Streams: one publisher, one reader, and never more than the agreed number of items between them, without gaps."""
