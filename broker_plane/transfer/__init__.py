"""Carrying out transfer descriptors (SEP-2433, Level 1): no model is asked, nothing unverified is kept."""
