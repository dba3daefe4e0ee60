"""mcp-sd's adapters, by framework; a framework is imported when it is used."""
