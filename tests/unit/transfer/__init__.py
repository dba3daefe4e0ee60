"""Unit tests of broker_plane/transfer."""
