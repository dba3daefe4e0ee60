"""Descriptions of protocols: their form, versions, signatures, search and composition; and agents' announcements. Pure.

plane/protocols/ and plane/announcements/ keep them in NATS.
"""
