"""The settings of an encoding from images."""

from dataclasses import dataclass

from neuromusic.core.figures import FigureStyle
from neuromusic.design.grid import HIGH_PASS_HZ

DELAYS_TR = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class EncodingOptions:
    """How images are selected and cleaned, and voxels fitted.

    Parameters
    ----------
    space : str, optional
        Use only images with this ``space-`` entity in their names.
    components : int
        Number of principal components of each stage.
    banded : bool
        Also fit all stages together, with one penalty per stage (banded ridge).
    high_pass_hz : float
        Cutoff of the filter that removes slow drifts, in Hz. A test run of ds003720 repeats itself
        every 150 s, so a cutoff of 1/128 Hz would remove signal.
    seed : int
        Seed of the permutations and the bootstraps over subjects.
    figures : FigureStyle
        Formats and width of the figures.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.EncodingOptions(components=20, banded=True).high_pass_hz
    0.00390625
    """

    space: str | None = None
    components: int = 100
    banded: bool = False
    high_pass_hz: float = HIGH_PASS_HZ
    seed: int = 0
    figures: FigureStyle = FigureStyle()  # noqa: RUF009  # immutable
