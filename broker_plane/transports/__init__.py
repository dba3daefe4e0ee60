"""MCP over NATS and over webhooks: carriers of exchanges, and what opens a server for them."""
