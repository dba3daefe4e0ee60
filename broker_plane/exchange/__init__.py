"""MCP exchanges: one request, its numbered messages and its answer, whatever carries them. Pure."""
