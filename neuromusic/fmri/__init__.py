"""A network's responses on the scanner's time grid: volumes, images, export, simulated data."""
