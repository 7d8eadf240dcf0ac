"""Front ends: sound to features, (channels x bands, frames)."""
