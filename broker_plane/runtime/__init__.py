"""Plane.connect: settings in, a wired plane out."""
