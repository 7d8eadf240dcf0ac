"""Descriptions of the data sets that benchmarks know by name, as TOML files."""
