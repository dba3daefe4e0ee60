"""`broker-plane proxy`: any MCP server, with its large results in the plane. It relays messages as they are."""
