"""Unit tests of broker_plane/cli."""
