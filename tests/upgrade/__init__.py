"""A later version opens what an earlier one stored."""
