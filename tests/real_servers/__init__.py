"""Published MCP servers that know nothing of broker_plane, behind its proxy."""
