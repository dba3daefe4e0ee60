"""Collaborative sessions (SEP-2433, section 7): several participants on one artifact. Pure: the state folds a log."""
