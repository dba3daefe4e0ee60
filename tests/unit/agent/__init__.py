"""Unit tests of broker_plane/agent."""
