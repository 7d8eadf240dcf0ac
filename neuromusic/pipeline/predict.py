"""Predict the genres of sound files."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from neuromusic.core.files import as_path
from neuromusic.evaluation.predict import pool_parts, predict_windows, prediction_table
from neuromusic.stimuli.channels import Channel
from neuromusic.training.trained import TrainedNetwork, as_network


def predict(
    network: TrainedNetwork | Path | str,
    files: Sequence[Path | str] | Path | str,
    *,
    channel: Channel | None = None,
) -> pd.DataFrame:
    """Predict the genres of sound files of any format, length and sampling rate.

    A long file is read in blocks of about a minute, so memory does not grow with its length.

    Parameters
    ----------
    network : TrainedNetwork, str or Path
        A network that was trained on sound, or its directory.
    files : str, Path or sequence of them
        Sound files.
    channel : {"mix", "left", "right"}, optional
        Which channel of the sounds the network hears; by default the one it was trained on.

    Returns
    -------
    pandas.DataFrame
        One row per file: file, predicted genre, its probability, and one column per genre with the
        genre's probability. ``table.attrs["windows"]`` is the number of windows of each file over
        which its probabilities are pooled, of all members of an ensemble together.

    Raises
    ------
    InputError
        If a file is not a readable sound file or contains no sound, or if the network was trained
        on precomputed features.

    Examples
    --------
    >>> import neuromusic as nm
    >>> table = nm.predict("sound_network", ["clips/blues.00000_15s.wav"])
    >>> list(table.columns)[:4]
    ['file', 'predicted', 'probability', 'blues']
    >>> round(float(table.iloc[0, 3:].sum()), 6)
    1.0
    """
    paths = [as_path(file) for file in ([files] if isinstance(files, str | Path) else files)]
    trained = as_network(network, channel)
    windows = predict_windows(paths, trained)
    names = pd.DataFrame({"file": [str(path) for path in paths]})
    table = prediction_table(names, pool_parts(windows, trained), trained.classes)
    table.attrs["windows"] = [sum(map(len, of_file)) for of_file in windows]
    return table
