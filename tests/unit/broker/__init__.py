"""Unit tests of broker_plane/broker."""
