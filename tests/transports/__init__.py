"""MCP over other carriers than HTTP and standard streams."""
