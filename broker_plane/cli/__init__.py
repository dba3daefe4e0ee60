"""The command line and the composition root: argv, environment and clock come in here."""
