"""Encode responses in time: how well each stage predicts time series of responses to sounds."""

import logging
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.cores import available_cores
from neuromusic.core.errors import InputError
from neuromusic.core.figures import FigureStyle
from neuromusic.core.files import as_path
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.plan import Work
from neuromusic.core.progress import track, working
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.encoding import timed_encoding
from neuromusic.encoding.inputs import check_network
from neuromusic.encoding.sound_responses import find_sounds
from neuromusic.encoding.timed_encoding import TimedOptions as TimedOptions
from neuromusic.encoding.timed_encoding import check
from neuromusic.encoding.timed_responses import TimedInput as TimedInput
from neuromusic.encoding.timed_responses import TimedResponses, match_sounds, read_timed
from neuromusic.features.timed import Timed
from neuromusic.pipeline.encode_sounds import COMMAND, SECONDS_PER_SECOND
from neuromusic.stimuli import audio
from neuromusic.stimuli.clips import find_listed_sounds

if TYPE_CHECKING:  # responses are checked without torch, which takes seconds to import
    from neuromusic.models.applied import AppliedNetwork
    from neuromusic.models.external import External

log = logging.getLogger(__name__)

Waves = Sequence[NDArray[np.float32]]
# For the estimates of a dry run: seconds on one core for a stage and a fold, per sample and squared
# column of the design, with what the stage adds to the baseline; bytes of all files per number.
SECONDS_PER_PRODUCT = 1.4e-10
BYTES_PER_NUMBER = 8
LEAST_BYTES = 500_000  # figures
MOST_COLUMNS = 128  # assumed of a stage whose units are not reduced to components


def encode_timed(
    network: "AppliedNetwork | External | Path | str",
    *,
    sounds: str | Path,
    responses: str | Path,
    out: str | Path,
    options: TimedOptions = TimedOptions(),  # noqa: B008  # immutable
    given: TimedInput = TimedInput(),  # noqa: B008  # immutable
    overwrite: bool = False,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
) -> Path:
    """Predict responses with a time axis from the stages of a network, by ridge regression.

    The responses are those of electrodes, sensors or components to short sounds or to long ones.
    The features of each stage at several lags predict sounds that the fit has not seen, beside an
    acoustic baseline (a cochleagram) and, if the network has weights, the same network with random
    ones. docs/how-to/encoding.md describes the method, docs/reference/files.md the files.

    Parameters
    ----------
    network : TrainedNetwork, External, str or Path
        A network that was trained on sound, or its directory; a network of others, or what
        `load_applied` accepts, such as "my_net.py" or "musicnn"; or features (`load_features`).
    sounds : str or Path
        Folder of sound files, searched at any depth.
    responses : str or Path
        .mat, .npz or HDF5 with ``responses`` (sounds, samples, targets), ``sounds`` and
        ``rate_hz``, or one array per sound; or MNE's ``Epochs`` or ``Raw`` as .fif. Names of
        sounds are those of files, with or without a suffix.
    out : str or Path
        Output directory: targets.tsv, samples.tsv (short sounds), response_functions.tsv and .npz,
        encoding.json and figures.
    options : TimedOptions
        Lags, components and folds.
    given : TimedInput
        What the responses do not say, such as their sampling rate.
    overwrite : bool
        Replace an earlier encoding that was made with other settings or from other inputs.
    figures : FigureStyle
        Formats and width of the figures.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    InputError
        If the network was trained on precomputed features; if the responses are not readable, have
        no sampling rate or do not vary; if a sound has no file, or several; if a network's
        activations are not finite; or if ``out`` contains something else.

    References
    ----------
    Crosse, M. J. et al. (2016). The multivariate temporal response function (mTRF) toolbox.
    Frontiers in Human Neuroscience 10, 604.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import neuromusic as nm
    >>> names, rng = [f"s{number:02d}" for number in range(20)], np.random.default_rng(0)
    >>> np.savez("sensors.npz", responses=rng.normal(size=(20, 40, 2)), sounds=names, rate_hz=20)
    >>> out = nm.encode_timed(
    ...     "sound_network", sounds="sounds", responses="sensors.npz", out="timed_encoding",
    ...     options=nm.TimedOptions(lags_s=(0, 0.2), components=4, folds=2),
    ... )
    >>> table = pd.read_csv(out / "targets.tsv", sep="\\t", keep_default_na=False)
    >>> table["network"].unique().tolist()
    ['none', 'trained', 'random']
    """
    sounds, responses, out = as_path(sounds), as_path(responses), as_path(out)
    check_target(out, COMMAND)
    check_network(network)
    measured = read_timed(responses, given)
    check(measured, options)
    files = _files(measured, sounds, responses)
    from neuromusic.training.applied_networks import as_applied

    trained = as_applied(network)
    trained.check_takes_sound()
    settings, places = arguments(
        network=trained.reference, sounds=sounds, responses=responses, options=options,
        given=given, figures=figures,
    )  # fmt: skip
    settings |= trained.settings()
    tables = [responses, *([given.onsets] if given.onsets else [])]
    inputs = {"network": trained.weights_hash(), **hash_inputs([*tables, *files])}
    waves = [
        audio.read(path, channel=trained.meta.channel)
        for path in track(files, "reading sounds", len(files))
    ]
    step = Step(
        COMMAND, out, settings, inputs, places, function="encode_timed", overwrite=overwrite,
        work=_work(trained, waves, measured, options),
    )  # fmt: skip
    if step.is_done():
        return out
    with step.directory() as directory:
        _encode(directory, trained, files, waves, measured, options, figures)
    log.info("wrote %s", out)
    return out


def _files(measured: TimedResponses, sounds: Path, responses: Path) -> list[Path]:
    """Return the file of each sound; if names do not match, the message has both lists."""
    try:
        return find_sounds(measured.sounds, sounds, responses)
    except InputError:
        stems = {PurePath(path.name).stem for path in find_listed_sounds(sounds)}
        if stems:
            match_sounds(measured.sounds, sorted(stems), str(sounds))
        raise


def _work(
    trained: "AppliedNetwork", waves: Waves, measured: TimedResponses, options: TimedOptions
) -> Work:
    """Return the work of an encoding."""
    delays, folds = check(measured, options)
    n_networks = 1 + ("random" in trained.controls)
    n_stages, n_targets = len(trained.network.stages), len(measured.targets)
    n_samples = sum(each.shape[1] for each in measured.values)
    n_columns = len(delays.samples) * (options.components or MOST_COLUMNS)
    n_fits = n_networks * (n_stages + 1) * len(folds)
    sound_s = sum(map(len, waves)) / audio.RATE_HZ
    seconds = SECONDS_PER_SECOND * sound_s + n_fits * n_samples * n_columns**2 * SECONDS_PER_PRODUCT
    return Work(
        f"activations of {len(waves)} sounds ({sound_s / 60:.1f} min) by {n_networks} networks; "
        f"{n_fits} ridge regressions of {n_targets:,} targets on {n_columns:,} columns",
        seconds / available_cores(),
        LEAST_BYTES + BYTES_PER_NUMBER * n_stages * n_targets * n_columns,
    )


# --- Computing ------------------------------------------------------------------------------------


def _encode(
    directory: Path, trained: "AppliedNetwork", files: Sequence[Path], waves: Waves,
    measured: TimedResponses, options: TimedOptions, figures: FigureStyle,
) -> None:  # fmt: skip
    """Compute features, fit and write everything."""
    from neuromusic.encoding import timed_tables
    from neuromusic.encoding.sound_features import n_repeated, set_gain
    from neuromusic.encoding.timed_design import acoustic_baseline

    repeated = n_repeated(trained, waves)
    if repeated:
        log.warning(
            "%d of %d sounds are shorter than the network's window and were repeated to fill it",
            repeated, len(files),
        )  # fmt: skip
    gain = set_gain(trained, waves)
    with working("baseline: computing features"):
        baseline = {
            sound: acoustic_baseline(wave)
            for sound, wave in zip(measured.sounds, waves, strict=True)
        }
    results = {
        name: timed_encoding.encode_timed(stages, measured, options, baseline)
        for name, stages in _features(trained, files, waves, measured.sounds, gain).items()
    }
    about: dict[str, Any] = {
        "model": trained.name,
        "run": trained.directory.name,  # the place is in the record
        "gain_db": 20 * float(np.log10(gain)),
        "repeated_sounds": repeated,
    }
    timed_tables.write(directory, results["trained"], about, figures, results.get("random"))
    timed_tables.log_scores(results["trained"], results.get("random"))


def _features(
    trained: "AppliedNetwork", files: Sequence[Path], waves: Waves, names: Sequence[str],
    gain: float,
) -> dict[str, dict[str, dict[str, Timed]]]:  # fmt: skip
    """Return the features of the network, and of one with random weights: stage -> sound -> ..."""
    from neuromusic.encoding.sound_features import network_inputs
    from neuromusic.models.inference import best_device
    from neuromusic.models.stage_frames import frames_of_sound
    from neuromusic.models.stored import Responses

    networks = {"trained": trained}
    if "random" in trained.controls:
        networks["random"] = trained.control("random")
    for network in networks.values():
        network.network.to(best_device())
    found: dict[str, dict[str, dict[str, Timed]]] = {name: {} for name in networks}
    responses = {name: Responses(network) for name, network in networks.items()}
    inputs = network_inputs(trained, files, waves, gain)
    shown = track(inputs, "computing activations", len(files))
    for sound, source in zip(names, shown, strict=True):
        for name, network in networks.items():
            try:
                frames = frames_of_sound(responses[name], network, source)
            except InputError as error:
                raise InputError(f"{sound}: {error}") from None
            for stage, timed in frames.items():
                found[name].setdefault(stage, {})[sound] = timed
    return found
