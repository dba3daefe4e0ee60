"""The configuration files of MCP clients: where they are, their formats, and the entries that `install` writes."""
