"""Runs Python code that nobody has read (docs/sandboxes.md): without files, processes or network of its own.

Whatever the code needs from outside it asks of its host, which is this process (`ports.Door`). A *rung* is one way to
confine it; the ladder takes the best one that this machine has, and refuses to run the code where there is none.
"""
