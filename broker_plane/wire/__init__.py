"""What travels: names, grants, body info, tool shapes. Pure."""
