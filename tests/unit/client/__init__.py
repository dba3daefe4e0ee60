"""Unit tests of broker_plane/client."""
