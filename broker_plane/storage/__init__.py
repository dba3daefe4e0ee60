"""The only room that imports nats: bodies, grant state, keys, and the presigned subject on both sides."""
