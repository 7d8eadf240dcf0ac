"""Simulated fMRI datasets with a known truth: a network's stages drive the voxels."""
