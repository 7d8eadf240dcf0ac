"""`python -m neuromusic` is the command `neuromusic`."""

from neuromusic.cli.main import cli

cli(prog_name="neuromusic")
