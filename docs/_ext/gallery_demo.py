"""What several scripts of the gallery read: one demo and one simulated dataset, made once.

They are kept in ``build/gallery``; neuromusic makes them anew if they were made by another version
of its code, and otherwise finds them up to date.
"""

from pathlib import Path

import neuromusic as nm

FOLDER = Path(__file__).resolve().parents[2] / "build" / "gallery"
DEMO = FOLDER / "demo"


def make_demo() -> Path:
    """Run the demo if it is not there; return its directory."""
    nm.demo(DEMO, overwrite=True)
    return DEMO


def make_images() -> Path:
    """Simulate one subject whose voxels respond to the demo's network; return the BIDS dataset."""
    planted = nm.Planted(voxels=40, noise_voxels=40)
    return nm.simulate(make_demo() / "run", out=FOLDER / "images", planted=planted, overwrite=True)
