"""Replicas of an artifact, one for each pair of artifact and sync protocol, behind one port."""
