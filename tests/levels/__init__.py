"""Levels 1.5 and 2 of transfer descriptors: generated code, what it may reach, and who writes it."""
