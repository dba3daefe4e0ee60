"""What holds for the source as a whole: its shape, its citations, its language and its names."""
