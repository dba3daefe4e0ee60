"""Benchmarks with their peer in the same run: `python -m tests.bench`. Never a timed test."""
