"""Who gets how much of memory, places and CPU time: shared by owner, then by grant."""
