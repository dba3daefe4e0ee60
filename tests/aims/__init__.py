"""The table of aims: what the tests measured, beside what they should."""
