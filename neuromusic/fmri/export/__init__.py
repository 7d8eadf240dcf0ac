"""Export of a network's responses to the formats of other programs; one writer per file."""
