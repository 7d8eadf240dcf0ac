"""A network's responses in one scanner run, as arrays."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed
from neuromusic.core.files import as_path
from neuromusic.design.grid import n_volumes
from neuromusic.design.lists import read_lists, unique_clips
from neuromusic.fmri.activations import clip_inputs, clip_responses, list_runs
from neuromusic.stimuli.channels import Channel
from neuromusic.training.trained import TrainedNetwork, as_network

log = logging.getLogger(__name__)


def activations(
    network: TrainedNetwork | Path | str,
    lists: str | Path,
    *,
    run: tuple[str, int] = ("train", 1),
    binning: str = "mean",
    channel: Channel | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Return a network's responses in every volume of one scanner run.

    Nothing is written; `export` writes the same arrays for all runs.

    Parameters
    ----------
    network : TrainedNetwork, str or Path
        The trained network, or its directory.
    lists : str or Path
        Directory of stimulus lists with scanner runs. A network that was trained on precomputed
        features needs no sound files.
    run : (str, int)
        Split ("train" or "test") and number of the run, from 1.
    binning : {"mean", "lanczos"}
        A volume is the mean of the frames inside it, or their anti-aliased value in its middle.
    channel : {"mix", "left", "right"}, optional
        Which channel of the sounds the network hears; by default the one it was trained on.

    Returns
    -------
    dict of arrays (n_volumes, units) float32
        "probability", with one column per class, and each stage. The volumes include those of the
        dummy, which come first. NaN in the volumes of missing clips.

    Raises
    ------
    InputError
        If the lists have no such run, or none of its clips is available.

    Examples
    --------
    >>> import neuromusic as nm
    >>> responses = nm.activations("network", "npz_lists", run=("train", 2))
    >>> list(responses)
    ['probability', 'A1', 'belt', 'PB', 'T2T3', 'GRU']
    >>> responses["probability"].shape  # ten trials and the dummy, ten volumes each
    (110, 10)
    """
    trained, lists = as_network(network, channel), as_path(lists)
    table = read_lists(lists)
    trials = _trials_of_run(table, lists, run)
    clips = unique_clips(table)
    clips = clips[clips["clip"].isin(trials["clip"])]
    inputs = clip_inputs(trained, lists, clips)
    responses = clip_responses(trained, clips["clip"], inputs=inputs, binning=binning)
    if responses.missing:
        log.warning(
            "%d clips are missing; their volumes are NaN: %s",
            len(responses.missing),
            listed(responses.missing),
        )
    return responses.on_volumes(trials, n_volumes(len(trials) - 1))


def _trials_of_run(table: pd.DataFrame, lists: Path, run: tuple[str, int]) -> pd.DataFrame:
    """Return the presentations of one run; raise InputError if the lists do not have it."""
    runs = list_runs(table, lists)
    split, number = run
    if (split, number) not in runs:
        known = listed(f"{name} {index}" for name, index in runs)
        raise InputError(f"{lists}: has no run {split} {number}; its runs are {known}")
    return runs[split, number]
