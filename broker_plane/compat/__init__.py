"""What code that was written for others imports instead: the same names, on the plane."""
