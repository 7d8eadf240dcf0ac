"""Encode one subject into a directory of its own, which `encode_group` can join with others."""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from neuromusic.core.files import as_path, write_json
from neuromusic.core.outputs import PLAN, Step, check_target
from neuromusic.core.parallel import Machine
from neuromusic.design.dataset import Dataset
from neuromusic.encoding.estimates import encoding_work
from neuromusic.encoding.inputs import check_network
from neuromusic.encoding.options import EncodingOptions
from neuromusic.encoding.rois import Rois
from neuromusic.pipeline.encode import COMMAND, WORK
from neuromusic.pipeline.encode_inputs import EncodingInputs, Source, check_packages, open_inputs
from neuromusic.pipeline.encode_work import (
    SUMMARY,
    Features,
    clear_except,
    compute_features,
    encode_each,
    log_scores,
    summary_of,
)

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from neuromusic.models.applied import AppliedNetwork
    from neuromusic.models.external import External

log = logging.getLogger(__name__)

FUNCTION = "encode_participant"
RESULTS = "sub-{}_results.npz"  # what `encode_group` reads


def encode_participant(
    network: "AppliedNetwork | External | Path | str",
    *,
    bids: Dataset | str | Path,
    out: str | Path,
    participant: str,
    images: str | Path | None = None,
    rois: Rois = Rois(),  # noqa: B008  # immutable
    options: EncodingOptions = EncodingOptions(),  # noqa: B008  # immutable
    overwrite: bool = False,
) -> Path:
    """Encode one subject into a directory of its own, so that several can be joined later.

    The result is that of `encode` for this subject alone, and does not depend on other subjects of
    the dataset. `encode_group` joins the directories of several subjects without computing their
    encodings again.

    Parameters
    ----------
    network : TrainedNetwork, External, str or Path
        What `encode` takes.
    bids : Dataset, str or Path
        BIDS dataset with the events of the images, and the experiment that it records.
    out : str or Path
        Output directory: the tables and figures of `encode`, and with them the maps and the table
        of the voxels. ``sub-X_results.npz`` is what `encode_group` needs.
    participant : str
        Label of the subject, with or without ``sub-``.
    images : str or Path, optional
        Folder of the preprocessed images, searched at any depth; by default ``bids``.
    rois : Rois
        Which voxels to encode, and how they are grouped into areas.
    options : EncodingOptions
        Selection and filtering of the images, number of components, seed, figures.
    overwrite : bool
        Replace an earlier encoding that was made with other settings or from other inputs.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    InputError
        As `encode`.

    Examples
    --------
    >>> import neuromusic as nm
    >>> planted = nm.Planted(voxels=4, noise_voxels=4)
    >>> images = nm.simulate("network", out="images", bids="bids", planted=planted)
    >>> rois = nm.Rois("all", atlas=images / "derivatives/truth/areas.nii.gz")
    >>> options = nm.EncodingOptions(components=10)
    >>> out = nm.encode_participant("network", bids=images, out="encodings/sub-A", participant="A",
    ...                             rois=rois, options=options)
    >>> sorted(path.name for path in out.glob("sub-*"))
    ['sub-A_brain.png', 'sub-A_encoding.json', 'sub-A_results.npz', 'sub-A_voxels.tsv']
    """
    check_packages(options)
    out = as_path(out)
    check_target(out, COMMAND)
    check_network(network)
    inputs = open_inputs(network, Source.open(bids, images), [participant], rois, options)
    encode_opened(inputs, out, overwrite=overwrite)
    return out


def encode_opened(
    inputs: EncodingInputs,
    out: Path,
    *,
    scratch: Path | None = None,
    features: Features | None = None,
    overwrite: bool = False,
) -> Features | None:
    """Encode the only subject of checked inputs, unless that is done.

    Parameters
    ----------
    inputs : EncodingInputs
        As `open_inputs` returns them for one subject.
    out : Path
        Output directory.
    scratch : Path, optional
        Folder for the series and the scores of blocks of voxels; by default they are beside ``out``
        until the end.
    features : Features, optional
        Those of another subject by the same network; used if this one was played the same.
    overwrite : bool
        Replace an earlier encoding that was made with other settings or from other inputs.

    Returns
    -------
    Features or None
        The features, for the next subject; None if the subject was done.
    """
    [label] = inputs.opened
    settings, places = inputs.arguments(participant=label)
    step = Step(
        COMMAND, out, settings, inputs.hashes(), places, function=FUNCTION, overwrite=overwrite,
        work=encoding_work(inputs.trained, inputs.design, inputs.opened, inputs.options),
    )  # fmt: skip
    if step.is_done():
        return None
    with step.directory(keep=True) as directory:
        work = scratch / f"sub-{label}-{_key(step)}" if scratch is not None else directory / WORK
        work.mkdir(parents=True, exist_ok=True)
        features = compute_features(inputs, features)
        _write(directory, inputs, features, work)
        shutil.rmtree(work)
    log.info("wrote %s: maps, tables and figures of sub-%s", out, label)
    return features


def _write(directory: Path, inputs: EncodingInputs, features: Features, work: Path) -> None:
    """Encode the subject and write all files."""
    from neuromusic.encoding import tables
    from neuromusic.encoding.area_results import StoredSubject
    from neuromusic.encoding.group_files import write_group

    components, options = features.components, inputs.options
    clear_except(directory, WORK, PLAN)
    [(subject, encoded)] = encode_each(inputs, features, work, Machine())
    tables.write_subject(directory, encoded, components.trained, options.figures)
    rdms = tables.stage_rdms_of(encoded.result, components)
    stored = StoredSubject(encoded.result, components.trained, rdms)
    stored.save(directory / RESULTS.format(subject))
    results = {subject: encoded.result}
    areas = write_group(
        directory, results, components.trained, rdms, options.seed, options.figures
    )  # fmt: skip
    write_json(directory / SUMMARY, summary_of(inputs, features))
    log_scores(areas, 1)


def _key(step: Step) -> str:
    """Return a name for work that only the same step may continue."""
    record = step.record()
    basis = {name: record[name] for name in ("settings", "inputs", "code_version")}
    return hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:16]
