"""Both sides of the presigned subjects: what the plane answers over NATS, and who asks."""
