"""One script a story: each starts its servers as subprocesses, plays the agent between them and counts what passes."""
