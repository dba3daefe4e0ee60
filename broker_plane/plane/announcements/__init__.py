"""Agents announce what they serve and consume; others find them and negotiate (decision 0063)."""
