"""The functions of the Python API; each command of the command line calls one of them."""
