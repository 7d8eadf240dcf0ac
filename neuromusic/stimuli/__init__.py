"""Sounds on disk: audio files, clips, corpora, synthetic sounds and fingerprints."""
