"""Live streams: one publisher, one reader, and never more between them than was agreed. Numbers hide no gap."""
