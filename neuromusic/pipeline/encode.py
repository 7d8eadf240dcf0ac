"""Encode images: how well each stage of a network predicts each voxel of each subject."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from neuromusic.core.files import as_path, write_json
from neuromusic.core.outputs import PLAN, Step, check_target
from neuromusic.core.parallel import Machine
from neuromusic.design.dataset import Dataset
from neuromusic.encoding.estimates import encoding_work
from neuromusic.encoding.inputs import check_network
from neuromusic.encoding.options import EncodingOptions as EncodingOptions
from neuromusic.encoding.rois import Rois as Rois
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

COMMAND = "encode"
WORK = "work"  # series and scores of blocks of voxels, until all are finished
IGNORED_BY_BIDS = (
    "figures", "areas.tsv", "contrasts.tsv", "group.tsv", "similarity.tsv", "unique.tsv",
    "encoding.json", "*_voxels.tsv", "*_encoding.json", "*_brain.*",
)  # fmt: skip
README = """How well each stage of a network predicts the responses of each voxel: maps of the
correlation r with the responses to test clips, of r relative to the noise ceiling (rc), of what a
stage explains beyond an acoustic baseline (r2), of q values and of the noise ceiling, in the space
of the images. The JSON file beside each map describes it.
`areas.tsv` has the means of each area, `contrasts.tsv` the differences between stages and networks,
`group.tsv` the tests over subjects, `unique.tsv` what each stage explains beyond the acoustic
baseline and beyond the stage below, `encoding.json` the method."""


def encode(
    network: "AppliedNetwork | External | Path | str",
    *,
    bids: Dataset | str | Path,
    out: str | Path,
    images: str | Path | None = None,
    subjects: str | Sequence[str] = "all",
    rois: Rois = Rois(),  # noqa: B008  # immutable
    options: EncodingOptions = EncodingOptions(),  # noqa: B008  # immutable
    machine: Machine = Machine(),  # noqa: B008  # immutable
    overwrite: bool = False,
) -> Path:
    """Predict subjects' fMRI responses from the stages of a network, by ridge regression.

    The responses of each stage to the clips are averaged over each volume, reduced to principal
    components, laid on the volumes of each run and delayed by 1 to 6 volumes. Each voxel is fitted
    on the training runs, with a penalty chosen by leave-one-run-out cross-validation, or in folds
    that leave out runs or sounds. It is scored by the correlation r and by R2 on the test clips,
    averaged over their repeats, with a p value from shifts by whole clips within runs, beside the
    noise ceiling.
    The same is done with random weights (those before training) and with permuted weights, and with
    acoustic features of the clips, beyond which the unique variance of each stage is reported.
    docs/how-to/encoding.md describes the method and the files; for one value per sound and voxel
    use `encode_sounds`. Voxels are fitted in blocks; an interrupted encoding continues after the
    blocks that it has finished.

    Parameters
    ----------
    network : TrainedNetwork, External, str or Path
        The trained network, or its directory. Its prepared set should contain the clips, unless
        ``bids`` names the sounds; volumes of other clips are left out. Or, if ``bids`` names the
        sounds, a network of others or what `load_applied` accepts, such as "my_net.py".
    bids : Dataset, str or Path
        BIDS dataset with the events of the images, and the experiment that it records.
    out : str or Path
        Output directory: tables, maps and figures.
    images : str or Path, optional
        Folder of the preprocessed images, searched at any depth; by default ``bids``.
    subjects : "all" or sequence of str
        Labels of the subjects to encode, with or without ``sub-``.
    rois : Rois
        Which voxels to encode, and how they are grouped into areas.
    options : EncodingOptions
        Selection and filtering of the images, number of components, seed, figures.
    machine : Machine
        Where voxels are fitted: in this process, or with ``dask`` on a cluster that reaches the
        images and ``out`` under the same paths.
    overwrite : bool
        Replace an earlier encoding that was made with other settings or from other inputs.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    InputError
        If a subject has no events, too few runs with images that fit them, or no voxel that varies;
        if a run has several images; if an atlas or mask is not readable or does not fit; if the
        prepared set contains none of the clips; or if ``out`` contains something else.

    References
    ----------
    Naselaris, T. et al. (2011). Encoding and decoding in fMRI. NeuroImage 56, 400-410.
    Schoppe, O. et al. (2016). Measuring the performance of neural models. Frontiers in
    Computational Neuroscience 10, 10.

    Examples
    --------
    >>> import neuromusic as nm
    >>> planted = nm.Planted(voxels=4, noise_voxels=4)
    >>> images = nm.simulate("network", out="images", bids="bids", planted=planted)
    >>> rois = nm.Rois("all", atlas=images / "derivatives/truth/areas.nii.gz")
    >>> options = nm.EncodingOptions(components=10)
    >>> out = nm.encode("network", bids=images, out="encoded", rois=rois, options=options)
    >>> sorted(path.name for path in out.glob("*.tsv"))
    ['areas.tsv', 'contrasts.tsv', 'group.tsv', 'similarity.tsv', 'unique.tsv']
    """
    check_packages(options)
    out = as_path(out)
    check_target(out, COMMAND)
    check_network(network)
    inputs = open_inputs(network, Source.open(bids, images), subjects, rois, options)
    settings, places = inputs.arguments(subjects=inputs.design.subjects)
    step = Step(
        COMMAND, out, settings, inputs.hashes(), places, function="encode", overwrite=overwrite,
        work=encoding_work(inputs.trained, inputs.design, inputs.opened, options),
    )  # fmt: skip
    if step.is_done():
        return out
    with step.directory(keep=True) as directory:
        features = compute_features(inputs)
        areas = _encode(directory, inputs, features, machine)
        shutil.rmtree(directory / WORK)
    log_scores(areas, len(inputs.opened))
    log.info(
        "wrote %s: areas.tsv, contrasts.tsv, group.tsv, similarity.tsv, unique.tsv, figures, and "
        "for each subject voxels.tsv and maps",
        out,
    )
    return out


def _encode(
    directory: Path, inputs: EncodingInputs, features: Features, machine: Machine
) -> pd.DataFrame:
    """Encode all subjects and write all files; return the table of areas."""
    from neuromusic.encoding import maps, tables
    from neuromusic.encoding.group_files import write_group
    from neuromusic.fmri.export.bids_dataset import write_dataset_files

    components, options = features.components, inputs.options
    results = {}
    clear_except(directory, WORK, PLAN)
    for subject, encoded in encode_each(inputs, features, directory / WORK, machine):
        folder = directory / f"sub-{subject}"
        folder.mkdir()
        tables.write_subject(folder, encoded, components.trained, options.figures)
        results[subject] = encoded.result
    rdms = tables.stage_rdms_of(next(iter(results.values())), components)
    areas = write_group(
        directory, results, components.trained, rdms, options.seed, options.figures
    )  # fmt: skip
    write_json(directory / SUMMARY, summary_of(inputs, features))
    model = inputs.trained.name
    write_dataset_files(
        directory, f"Encoding of responses by the stages of {model}", model, README,
        ignored=(*IGNORED_BY_BIDS, *maps.IGNORED),
    )  # fmt: skip
    return areas
