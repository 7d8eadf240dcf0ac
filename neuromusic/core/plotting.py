"""What all figures share: resolution, colours, saving."""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

DPI = 130
COLOURS = plt.get_cmap("tab10").colors


def save(figure: Figure, path: Path) -> Path:
    """Write a figure atomically, close it, and return its path."""
    part = path.with_name(f".{path.name}")
    figure.savefig(part, dpi=DPI, format=path.suffix[1:], bbox_inches="tight")
    part.replace(path)
    plt.close(figure)
    return path


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as an image (height, width, 3) and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png", bbox_inches="tight")
    plt.close(figure)
    buffer.seek(0)
    return np.round(255 * plt.imread(buffer)[..., :3]).astype(np.uint8)
