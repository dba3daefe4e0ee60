"""What others wrote, unmodified, against what we serve: mcp-sd, an MCP client of the 1.x line, NATS object stores."""
