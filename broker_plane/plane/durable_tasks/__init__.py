"""Durable tasks (SEP-2663)."""
