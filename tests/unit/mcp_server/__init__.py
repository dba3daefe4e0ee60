"""Unit tests of broker_plane/mcp_server."""
