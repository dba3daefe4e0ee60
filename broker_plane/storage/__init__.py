"""Adapters of the plane's ports on JetStream: bodies, entries, keys, feeds, audit. layout.py has the streams."""
