"""Uploads: bytes that come in by requests, and become a body."""
