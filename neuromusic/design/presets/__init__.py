"""Descriptions of experiments as TOML files."""
