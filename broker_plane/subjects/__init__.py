"""Both sides of the presigned subjects: the plane's answers over NATS, and the pullers."""
