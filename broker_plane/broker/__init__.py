"""One connection to nats-server and what is asked over it. The only package that imports nats."""
