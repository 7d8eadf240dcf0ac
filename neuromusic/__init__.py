"""neuromusic: networks beside a brain, from order files to numbers on the scanner's time grid."""

import os

__version__ = "0.1.0.dev1"  # another one whenever the same settings make other bytes

# Large pages for large tensors on a CPU: without them much of a training goes into page faults.
# torch reads this with its first tensor, so it is set before any import of it.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
