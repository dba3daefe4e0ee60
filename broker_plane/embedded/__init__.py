"""Starts, finds and supervises a private nats-server and bridge of this user."""
