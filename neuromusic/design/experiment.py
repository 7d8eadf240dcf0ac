"""The experiment: repetition time, clip length, genres, task names and order files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from neuromusic.stimuli.corpora.gtzan import GENRES as GTZAN_GENRES

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Experiment:
    """What one experiment presents, how it is timed and how its files are named.

    Parameters
    ----------
    name : str
        Name of the dataset.
    tr_s : float
        Repetition time of the scanner in s.
    clip_s : float
        Length of one presentation in s; a whole number of volumes.
    genres : tuple of str
        The classes, in the order of a network's outputs.
    test_repeats : int
        How often a test clip is presented in its run.
    trials_per_genre : int
        Training clips of one genre in one run.
    tasks : mapping of {"train", "test"} to str
        BIDS task of each split.
    order_variables : mapping of {"train", "test"} to str
        MATLAB variable that holds the order of each split.
    order_files : mapping of {"train", "test"} to str
        File name of the order of each split.

    Examples
    --------
    >>> from neuromusic.design.experiment import DS003720
    >>> DS003720.volumes_per_clip
    10
    >>> DS003720.n_volumes(n_trials=40)
    410

    References
    ----------
    Nakai, Koide-Majima and Nishimoto (2021). Correspondence of categorical and feature-based
    representations of music in the human brain. Brain and Behavior 11, e01936. The dataset is
    https://openneuro.org/datasets/ds003720.
    """

    name: str
    tr_s: float
    clip_s: float
    genres: tuple[str, ...]
    test_repeats: int
    trials_per_genre: int
    tasks: Mapping[Split, str] = field(hash=False)
    order_variables: Mapping[Split, str] = field(hash=False)
    order_files: Mapping[Split, str] = field(hash=False)

    @property
    def volumes_per_clip(self) -> int:
        """Number of volumes that one presentation spans."""
        return round(self.clip_s / self.tr_s)

    def n_volumes(self, n_trials: int) -> int:
        """Return the number of volumes of a run: ``n_trials`` presentations and the dummy."""
        return (n_trials + 1) * self.volumes_per_clip


DS003720 = Experiment(
    name="ds003720",
    tr_s=1.5,
    clip_s=15.0,
    genres=GTZAN_GENRES,
    test_repeats=4,
    trials_per_genre=4,
    tasks={"train": "Training", "test": "Test"},
    order_variables={"train": "TrnOrd", "test": "ValOrd"},
    order_files={"train": "ExpTrnOrder.mat", "test": "ExpValOrder.mat"},
)
