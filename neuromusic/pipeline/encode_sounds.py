"""Encode single responses: how well each stage predicts one value per short sound and target."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.cores import available_cores
from neuromusic.core.errors import InputError, need_package
from neuromusic.core.figures import FigureStyle
from neuromusic.core.files import as_path
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.plan import Work
from neuromusic.core.progress import track
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.encoding.inputs import check_network
from neuromusic.encoding.options import SoundOptions as SoundOptions
from neuromusic.encoding.sound_responses import (
    Protocol,
    Statistics,
    Usable,
    find_sounds,
    halves_of,
    read_responses,
    usable,
)
from neuromusic.stimuli import audio

if TYPE_CHECKING:  # responses are checked without torch and SciPy, which take seconds to import
    from neuromusic.models.applied import AppliedNetwork
    from neuromusic.models.external import External

log = logging.getLogger(__name__)

COMMAND = "encode --sounds"
# For the estimates of a dry run: seconds on one core for a second of sound, twice through a
# network, and for one ridge regression of one split besides its targets.
SECONDS_PER_SECOND = 0.1
SECONDS_PER_FIT = 0.3
SECONDS_PER_TARGET = 1e-3
BYTES_PER_SCORE = 20


def encode_sounds(
    network: "AppliedNetwork | External | Path | str",
    *,
    sounds: str | Path,
    responses: str | Path,
    out: str | Path,
    options: SoundOptions = SoundOptions(),  # noqa: B008  # immutable
    splits: int = 10,
    seed: int = 0,
    overwrite: bool = False,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
) -> Path:
    """Predict single responses to short sounds from the stages of a network, by ridge regression.

    There is one value per sound and target (a voxel, an area, a component), without a time axis.
    Each stage, summarised over time, is fitted on a random half of the sounds and scored on the
    other half, several times, alone and together with a spectro-temporal baseline. The same is done
    with the network's weights before training. Differences from the baseline are tested by the
    corrected resampled t test, two-sided. docs/reference/files.md describes the files.

    Parameters
    ----------
    network : TrainedNetwork, External, str or Path
        A network that was trained on sound, or its directory; or a network of others, or what
        `load_applied` accepts, such as "my_net.py" or "musicnn".
    sounds : str or Path
        Folder of sound files, searched at any depth.
    responses : str or Path
        .mat (``R``, ``stim_names``, optionally ``component_names`` and ``W``), .npz (``responses``,
        ``sounds``, optionally ``targets`` and ``weights``) or .tsv (a column of names of sounds,
        and one column per target). Names of sounds are those of files, with or without a suffix.
    out : str or Path
        Output directory: targets.tsv, reconstructed_voxels.tsv (if the responses have weights),
        scores.npz, features.npz, encoding.json and stages.png.
    options : SoundOptions
        The protocol, and the summary of each unit over time.
    splits : int
        Number of random splits into halves.
    seed : int
        Seed of the splits.
    overwrite : bool
        Replace an earlier encoding that was made with other settings or from other inputs.
    figures : FigureStyle
        Formats and width of the figure.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    InputError
        If the network was trained on precomputed features; if the protocol and the statistics do
        not go together; if the responses are not readable, are
        incomplete or do not vary; if a sound has no file, or several; or if ``out`` contains
        something else.

    References
    ----------
    Norman-Haignere, S., Kanwisher, N. G. and McDermott, J. H. (2015). Distinct cortical pathways
    for music and speech revealed by hypothesis-free voxel decomposition. Neuron 88, 1281-1296.
    Tuckute, G. et al. (2023). Many but not all deep neural network audio models capture brain
    responses and exhibit correspondence between model stages and brain regions. PLoS Biology 21,
    e3002366.

    Examples
    --------
    >>> import pandas as pd
    >>> import neuromusic as nm
    >>> out = nm.encode_sounds(
    ...     "sound_network", sounds="sounds", responses="responses.tsv", out="sound_encoding",
    ...     splits=2,
    ... )
    >>> table = pd.read_csv(out / "targets.tsv", sep="\\t", keep_default_na=False)
    >>> table["network"].unique().tolist()
    ['none', 'trained', 'random']
    """
    return encode_sharing(
        network, sounds=sounds, responses=responses, out=out, options=options, splits=splits,
        seed=seed, overwrite=overwrite, figures=figures,
    )  # fmt: skip


def encode_sharing(
    network: "AppliedNetwork | External | Path | str", *, sounds: str | Path, responses: str | Path,
    out: str | Path, options: SoundOptions, splits: int, seed: int, overwrite: bool,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
    shared: Path | None = None,
) -> Path:  # fmt: skip
    """Encode as `encode_sounds`; keep the baseline in ``shared`` for the next network."""
    need_package("himalaya", "fmri")
    sounds, responses, out = as_path(sounds), as_path(responses), as_path(out)
    check_target(out, COMMAND)
    check_network(network)
    if splits < 1:
        raise InputError(f"splits={splits}: expected a number from 1")
    protocol, statistics = options.protocol, _statistics(options)
    measured = read_responses(responses)
    halves = halves_of(len(measured.sounds), splits, seed, protocol)
    selected = usable(measured, halves, responses)
    files = find_sounds(measured.sounds, sounds, responses)
    from neuromusic.encoding import sound_results
    from neuromusic.training.applied_networks import as_applied

    trained = as_applied(network)
    trained.check_takes_sound()
    settings, places = arguments(
        network=trained.reference, sounds=sounds, responses=responses,
        options=SoundOptions(protocol, statistics), splits=splits, seed=seed, figures=figures,
    )  # fmt: skip
    settings |= trained.settings()
    inputs = {"network": trained.weights_hash(), **hash_inputs([responses, *files])}
    waves = [
        audio.read(path, channel=trained.meta.channel)
        for path in track(files, "reading sounds", len(files))
    ]
    step = Step(
        COMMAND, out, settings, inputs, places, function="encode_sounds", overwrite=overwrite,
        work=_work(trained, waves, selected, splits, protocol),
    )  # fmt: skip
    if step.is_done():
        return out
    with step.directory() as directory:
        result = sound_results.score_all(
            trained,
            files,
            waves,
            selected,
            halves,
            SoundOptions(protocol, statistics),
            shared,
        )
        about = {"protocol": protocol, "splits": splits, "seed": seed, "statistics": statistics}
        sound_results.write(directory, result, trained, about, figures)
    sound_results.log_left_out(result, trained)
    sound_results.log_scores(result)
    log.info("wrote %s", out)
    return out


def _statistics(options: SoundOptions) -> Statistics:
    """Return the summary over time that was asked for, or that of the protocol."""
    statistics = options.statistics
    if options.protocol == "ours":
        return statistics or "mean+deviation"
    if statistics not in (None, "mean"):
        raise InputError(
            f"statistics={statistics!r}: the protocol tuckute2023 takes means over time; leave "
            "statistics out, or use the protocol ours"
        )
    return "mean"


def _work(
    trained: "AppliedNetwork", waves: Sequence[NDArray[np.float32]], selected: Usable, splits: int,
    protocol: Protocol,
) -> Work:  # fmt: skip
    """Return the work of an encoding of some sounds."""
    responses = selected.responses
    n_targets = len(responses.targets) + responses.voxels.shape[1]
    n_stages = len(trained.network.stages)
    n_sets = 3 + (4 * (n_stages + 1) if protocol == "ours" else 2 * n_stages)
    sound_s = sum(map(len, waves)) / audio.RATE_HZ
    fits_s = n_sets * splits * (SECONDS_PER_FIT + SECONDS_PER_TARGET * n_targets)
    return Work(
        f"activations of {len(waves)} sounds, with trained and with random weights; "
        f"{n_sets * splits} ridge regressions of {n_targets:,} targets",
        (SECONDS_PER_SECOND * sound_s + fits_s) / available_cores(),
        BYTES_PER_SCORE * n_sets * splits * n_targets,
    )
