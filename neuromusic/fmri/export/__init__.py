"""Export of a network's responses to the formats of other programs; one writer per file.

A writer is a function ``write_x(directory, runs, context)`` that returns notes on what it left out.
It is registered by name in `formats.WRITERS`; `scanner_run` and `conventions` have what the writers
share. `derivative` (activations) and `bids` write what every export has.
"""
