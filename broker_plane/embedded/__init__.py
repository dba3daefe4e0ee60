"""The private broker of one user: the first process starts it, later ones find it, and it stops when idle.

`broker.py` is the interface for callers; `supervisor.py` is the process that runs nats-server and the bridge.
One rule: a supervisor is alive if and only if it holds its lock. No pid, file or port proves it.
"""
