"""Validators of sessions: they accept or refuse an artifact, in processes that are killed if they take too long."""
