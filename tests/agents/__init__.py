"""The agent's side, against the real frameworks, in an environment that the tests make."""
