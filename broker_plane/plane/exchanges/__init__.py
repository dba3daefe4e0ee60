"""Exchanges that outlive the processes that carry them out."""
