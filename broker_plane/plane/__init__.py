"""The use cases: publish, deliver and pull bodies; the rules of grants. Async; every effect is behind a port."""
