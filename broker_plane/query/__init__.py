"""SQL over bodies: a port for engines, and DuckDB in processes of its own.

An engine is handed exactly what the grants show, as Arrow, and nothing else: no grant, no credential, no file, no
network (docs/query.md). The result is a new body.
"""
