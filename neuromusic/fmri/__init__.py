"""From a network's responses to the brain's: formats, images, encoding models."""
