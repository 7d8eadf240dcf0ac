"""The commands; a module each. Nothing heavy is imported before a command runs."""
