"""Predict the genres of sound files."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from neuromusic.evaluation.predict import predict_files, prediction_table
from neuromusic.training.trained import TrainedNetwork, as_network


def predict(
    network: TrainedNetwork | Path | str, files: Sequence[Path | str] | Path | str
) -> pd.DataFrame:
    """Predict the genres of sound files of any format, length and sampling rate.

    A long file is read in blocks of about a minute, so memory does not grow with its length.

    Parameters
    ----------
    network : TrainedNetwork, str or Path
        A network that was trained on sound, or its directory.
    files : str, Path or sequence of them
        Sound files.

    Returns
    -------
    pandas.DataFrame
        One row per file: file, predicted genre, its probability, and one column per genre with the
        genre's probability.

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
    paths = [Path(file) for file in ([files] if isinstance(files, str | Path) else files)]
    trained = as_network(network)
    log_p = predict_files(paths, trained)
    names = pd.DataFrame({"file": [str(path) for path in paths]})
    return prediction_table(names, log_p, trained.classes)
