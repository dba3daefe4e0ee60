"""Uploads: bytes arrive in requests and become a body."""
