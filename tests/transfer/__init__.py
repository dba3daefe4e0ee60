"""Level 1 of transfer descriptors: each handler against a real server."""
