"""The proxy: what must pass unchanged, and what must not pass."""
