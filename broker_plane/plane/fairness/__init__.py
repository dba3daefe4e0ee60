"""Shares memory, places and CPU time fairly: by owner first, then by grant."""
