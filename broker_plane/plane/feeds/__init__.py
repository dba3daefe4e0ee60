"""Feeds: named, ordered, durable series of body versions. A notice exists if and only if its body can be pulled."""
