"""Files on this machine: written atomically, and locked."""
