"""The parts of running sessions that need no broker."""
