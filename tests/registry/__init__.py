"""The registry of protocol descriptions: versions, signatures, search, composition, and what comes built in."""
