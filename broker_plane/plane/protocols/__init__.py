"""Descriptions of protocols in a bucket: what their owners may write, and what readers believe of it."""
