"""SQL over bodies: a real bridge, a real nats-server, DuckDB in its worker processes."""
