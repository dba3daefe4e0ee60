"""The private broker of one user: started by whoever comes first, found by everybody later, ended when idle.

`broker.py` is for callers; `supervisor.py` is the process that holds nats-server and bridge as its children.
One rule: whoever holds the lock is alive, and nothing else (a pid, a file, a port) says so.
"""
