"""Generated code in each sandbox."""
