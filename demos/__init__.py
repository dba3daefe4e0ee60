"""One script a story: `weather` and `db` play an agent between two servers; the other modules are what they share."""
