"""Networks that others have trained: a catalogue from the package index, and the user's hubs."""
