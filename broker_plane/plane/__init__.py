"""What may happen to a body: publish, deliver, pull, and the rules of grants. Async; every effect is behind a port."""
