"""Composes `Plane` from its parts: settings in, a connected plane out."""
