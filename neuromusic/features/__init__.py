"""Features: variants of training clips, spectra, front ends, and the prepared set."""

PRELOAD = ("neuromusic.features.preload",)  # modules for `core.parallel.WorkerPool` to import
