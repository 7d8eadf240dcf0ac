"""neuromusic: networks beside a brain, from order files to numbers on the scanner's time grid."""

__version__ = "0.1.0"
