"""Real-server fixtures, fault injection and strategies. Nothing above imports it."""
