"""Unit tests of broker_plane/proxy."""
