"""Transfers over protocols that no handler knows (SEP-2433, Levels 1.5 and 2): code that a model wrote moves the bytes.

Level 2 asks a provider for code, runs it in a sandbox and verifies what it emitted; Level 1.5 runs code that an earlier
transfer left in the cache. The bytes pass the same checks as those of every handler, and never pass the agent's model.
"""
