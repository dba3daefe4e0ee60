"""Bodies: publish, deliver, pull."""
