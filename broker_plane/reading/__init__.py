"""Reading a body without pulling it: bounded answers about its rows, lines or JSON values. Pure, without I/O."""
