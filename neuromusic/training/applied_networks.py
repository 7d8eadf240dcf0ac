"""Load whatever a command accepts as a network: a trained one, one of others, or features."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.features.feature_folder import open_features
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.external import External
from neuromusic.models.foreign import feature_network, foreign_network
from neuromusic.models.loading import is_external, load_external
from neuromusic.stimuli.channels import Channel, check_channel
from neuromusic.training.trained import load_network


def as_applied(
    network: AppliedNetwork | External | Path | str, channel: Channel | None = None
) -> AppliedNetwork:
    """Return a network that is given as one, or as what `load_applied` accepts."""
    if isinstance(network, External):
        network = foreign_network(network)
    applied = network if isinstance(network, AppliedNetwork) else load_applied(network)
    if channel is None:
        return applied
    check_channel(channel)
    applied.check_takes_sound()
    return replace(applied, meta=replace(applied.meta, channel=channel))


def load_applied(
    source: Path | str, *, channel: Channel | None = None, stages: Sequence[str] = ()
) -> AppliedNetwork:
    """Load a network, whoever trained it, for encodings, exports and similarity.

    Parameters
    ----------
    source : Path or str
        The directory of a trained network; a Python file with a function ``network()`` that returns
        an `External`; ``package.module:function``; the name of an available network, such as
        "musicnn" (`list_networks`); or ``hf:NAME``, ``torchaudio:PIPELINE``, ``torchvision:NAME``.
    channel : {"mix", "left", "right"}, optional
        Which channel of sound files it hears; by default that of its training, or the mix.
    stages : sequence of str
        Which stages of a network of others are used; by default all. Those without a time axis need
        sounds that are as long as the network's window.

    Returns
    -------
    AppliedNetwork
        The network.

    Raises
    ------
    InputError
        If there is no such network, or it cannot be loaded.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.load_applied("network").name
    'cortex-z'
    """
    if not is_external(source):
        if stages:
            raise InputError("stages: is for networks of others; a trained network has fixed ones")
        return as_applied(load_network(source), channel)
    external = load_external(source)
    for stage in stages:
        if stage not in external.stages:
            raise InputError(
                f"stages: {external.name} has no stage {stage!r}; it has "
                f"{listed(external.stages)}{did_you_mean(stage, external.stages)}"
            )
    if stages:
        # In the network's order: records, from which encodings are repeated, do not keep another.
        chosen = {key: module for key, module in external.stages.items() if key in stages}
        axes = {key: axis for key, axis in external.time_axis.items() if key in chosen}
        external = replace(external, stages=chosen, time_axis=axes)
    return as_applied(foreign_network(external, source), channel)


def load_features(directory: Path | str) -> AppliedNetwork:
    """Load features that were computed elsewhere, in place of a network.

    Parameters
    ----------
    directory : Path or str
        A folder of .npy with JSON, .npz or HDF5 files: one array (frames, units) per stage and
        sound, with ``frame_s`` and ``first_frame_s``; docs/how-to/networks.md describes the
        layouts.

    Returns
    -------
    AppliedNetwork
        The features, which `encode`, `encode_sounds` and `export` take as a network.

    Raises
    ------
    InputError
        If there are no features, or a file cannot be read.

    Examples
    --------
    >>> import neuromusic as nm
    >>> [stage.name for stage in nm.load_features("features").network.stages]
    ['conv1', 'conv2']
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such directory; expected a folder of features")
    return feature_network(open_features(folder))
