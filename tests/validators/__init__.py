"""Validators of sessions, in real processes."""
