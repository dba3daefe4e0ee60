"""Unit tests of broker_plane/wire."""
