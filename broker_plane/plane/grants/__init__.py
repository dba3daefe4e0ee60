"""Grants: minted, claimed, revoked."""
