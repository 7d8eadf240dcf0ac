"""Sets of sound files: one module a layout, each with `table` and `validate`."""
