"""One script per demo: `weather` and `db` play an agent between two servers; the other modules are shared."""
