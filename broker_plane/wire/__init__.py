"""The wire formats: names, grants, body info, tool shapes. Pure."""
