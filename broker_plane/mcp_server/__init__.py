"""PlaneServer and its decorators. The importer of the MCP SDK."""
