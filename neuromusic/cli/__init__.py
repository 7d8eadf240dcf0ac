"""The command line: one module per command. Heavy imports are made inside the commands."""
