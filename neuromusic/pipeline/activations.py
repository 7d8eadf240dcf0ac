"""A network's responses in one scanner run, as arrays."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed
from neuromusic.core.files import as_path
from neuromusic.design.list_runs import scanner_runs
from neuromusic.design.lists import read_lists, unique_clips
from neuromusic.design.presentations import RunDesign
from neuromusic.design.timing import all_placements
from neuromusic.fmri.activations import Rest, clip_responses
from neuromusic.fmri.clip_inputs import clip_inputs
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
    chosen, rest = _run_of_lists(table, lists, run)
    clips = unique_clips(table)
    clips = clips[clips["clip"].isin(chosen.trials["clip"])]
    inputs = clip_inputs(trained, lists, clips, [chosen])
    wanted = all_placements([(chosen.trials, chosen.known_tr_s)])
    responses = clip_responses(trained, wanted, inputs=inputs, binning=binning, rest=rest)
    if responses.missing:
        log.warning(
            "%d clips are missing; their volumes are NaN: %s",
            len(responses.missing),
            listed(responses.missing),
        )
    return responses.on_volumes(chosen.trials, chosen.known_tr_s, chosen.known_volumes)


def _run_of_lists(table: pd.DataFrame, lists: Path, run: tuple[str, int]) -> tuple[RunDesign, Rest]:
    """Return one run, and what stands for silence; raise InputError if there is no such run."""
    design = scanner_runs(table, lists)
    runs = {(each.split or "test", name.run): each for name, each in design.runs.items()}
    if run not in runs:
        known = listed(f"{name} {index}" for name, index in runs)
        raise InputError(f"{lists}: has no run {run[0]} {run[1]}; its runs are {known}")
    return runs[run], design.experiment.time.rest
