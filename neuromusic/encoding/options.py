"""The settings of an encoding from images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from neuromusic.core.errors import InputError
from neuromusic.core.figures import FigureStyle
from neuromusic.core.files import as_path
from neuromusic.design.timing import HIGH_PASS_HZ
from neuromusic.encoding.sound_responses import Protocol, Statistics

DELAYS_TR = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class EncodingOptions:
    """How images are selected and cleaned, and voxels fitted.

    Parameters
    ----------
    entities : mapping of str
        Use only images with these entities in their names, such as ``{"space": "T1w"}``; "none":
        without the entity.
    confounds : tuple of str
        fMRIPrep's confounds that are removed: "motion", "wm_csf", "global_signal", "scrub", or
        nilearn's "simple", "scrubbing", "compcor" and "ica_aroma".
    components : int
        Number of principal components of each stage.
    banded : bool
        Also fit all stages together, with one penalty per stage (banded ridge).
    high_pass_hz : float
        Cutoff of the filter that removes slow drifts, in Hz. A test run of ds003720 repeats itself
        every 150 s, so a cutoff of 1/128 Hz would remove signal.
    control_seeds : int
        Number of copies of the network with random weights, and of those with permuted weights.
    artists : Path, optional
        Artist table: a TSV with the columns track, artist_group and fault. With it, areas are also
        scored on the test clips that share no track or artist with a training clip.
    seed : int
        Seed of the shifts that similarities are tested with.
    figures : FigureStyle
        Formats and width of the figures.

    Raises
    ------
    InputError
        If there is no control seed.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.EncodingOptions(components=20, banded=True).high_pass_hz
    0.00390625
    """

    entities: Mapping[str, str] = field(default_factory=dict)
    confounds: tuple[str, ...] = ()
    components: int = 100
    banded: bool = False
    high_pass_hz: float = HIGH_PASS_HZ
    control_seeds: int = 1
    artists: Path | None = None
    seed: int = 0
    figures: FigureStyle = FigureStyle()  # noqa: RUF009  # immutable

    def __post_init__(self) -> None:
        if self.artists is not None:
            object.__setattr__(self, "artists", as_path(self.artists))
        if self.control_seeds < 1:
            raise InputError(f"control_seeds={self.control_seeds}: expected a number from 1")


@dataclass(frozen=True)
class SoundOptions:
    """How single responses to sounds are fitted and scored.

    Parameters
    ----------
    protocol : {"ours", "tuckute2023"}
        "ours": features standardised, penalties chosen by ten-fold cross-validation, r2 with the
        sign of r, mean over the splits. "tuckute2023": the method of Tuckute et al. (2023) with the
        larger half for training, features averaged over time and not scaled, penalties from 10^-50
        to 10^49 chosen by leave-one-out, r below 0 counted as 0, median over the splits; their
        published values are in targets.tsv if the targets are their six components.
    statistics : {"mean", "mean+deviation"}, optional
        Summary of each unit over time; "mean+deviation" by default, or with "tuckute2023" "mean",
        which is the only one there.

    Raises
    ------
    InputError
        By the functions that take it, if protocol and statistics do not go together.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.SoundOptions(protocol="tuckute2023").statistics is None
    True
    """

    protocol: Protocol = "ours"
    statistics: Statistics | None = None
