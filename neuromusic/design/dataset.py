"""A dataset as a user names it: a BIDS folder, the experiment that it records, and its sounds."""

from dataclasses import dataclass
from pathlib import Path

from neuromusic.core.files import as_path
from neuromusic.design.bids import BidsIndex, index_bids
from neuromusic.design.experiment import Experiment, as_experiment
from neuromusic.design.orders import EXPERIMENT

DESCRIPTION = "experiment.toml"  # in a folder of lists or at the top of a dataset


@dataclass(frozen=True)
class Dataset:
    """A BIDS dataset and how to read it.

    Parameters
    ----------
    bids : str or Path
        The folder with the events.
    experiment : Experiment, str or Path, optional
        Description, its file, or the name of a preset. By default ``experiment.toml`` in the
        folder; without one, the preset ds003720.
    sounds : str or Path, optional
        Folder of the sounds that were played, at any depth. By default a network gets them from the
        set that it was trained on.

    Raises
    ------
    InputError
        By the functions that take it, if the folder or the description is not readable, or if they
        do not fit each other.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.Dataset("bids").described().name
    'ds003720'
    """

    bids: str | Path
    experiment: Experiment | str | Path | None = None
    sounds: str | Path | None = None

    @property
    def directory(self) -> Path:
        """The folder with the events."""
        return as_path(self.bids)

    def described(self) -> Experiment:
        """Return the description of the experiment."""
        if self.experiment is not None:
            return as_experiment(self.experiment)
        own = self.directory / DESCRIPTION
        return as_experiment(own) if own.is_file() else EXPERIMENT

    def index(self) -> BidsIndex:
        """Return the events, images and JSON files of the folder."""
        return index_bids(self.directory)


def as_dataset(dataset: Dataset | str | Path) -> Dataset:
    """Return a dataset that is given as one, or as its folder."""
    return dataset if isinstance(dataset, Dataset) else Dataset(dataset)
