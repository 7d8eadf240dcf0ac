"""The version of the package; a record with another version never counts as up to date."""

__version__ = "0.1.0.dev1"  # changes whenever the same settings give other bytes
