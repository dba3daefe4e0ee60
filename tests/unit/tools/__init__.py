"""Unit tests of broker_plane/tools."""
