"""Example MCP servers. Each is one file with only the public names of broker_plane; start one with `python -m`.

`weather` and `warehouse` produce, `stats` and `analytics` consume; the consumers share `charts`, `pictures` and
`checksum`. The alerts and the forecast in the two sample files were written for this project: offices and places exist,
the weather is made up, and every alert says `status: Exercise`.
"""
