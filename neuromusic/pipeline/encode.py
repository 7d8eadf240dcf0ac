"""Encode images: how well each stage of a network predicts each voxel of each subject."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from neuromusic.core.errors import listed, need_package
from neuromusic.core.files import as_path, write_json
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.parallel import Machine
from neuromusic.core.progress import working
from neuromusic.core.records import hash_inputs
from neuromusic.design.bids import BidsIndex, index_bids
from neuromusic.design.dataset import Dataset, as_dataset
from neuromusic.design.presentations import IMAGES, Design, load_design
from neuromusic.design.timing import all_placements
from neuromusic.encoding.atlas import TALAIRACH_ABOUT
from neuromusic.encoding.estimates import encoding_work
from neuromusic.encoding.folds import make_folds
from neuromusic.encoding.inputs import SubjectInputs, check_network, open_subjects
from neuromusic.encoding.options import DELAYS_TR, EncodingOptions
from neuromusic.encoding.rois import Rois
from neuromusic.fmri.bold import json_tr_s, open_run
from neuromusic.fmri.bold_files import find_bold
from neuromusic.fmri.clip_inputs import inputs_from_files, inputs_from_prepared
from neuromusic.fmri.confounds import check_strategies
from neuromusic.fmri.scan_series import usable_rows
from neuromusic.fmri.scans import ImageChoice, repeat_rows
from neuromusic.pipeline.datasets import dataset_arguments, find_sounds, with_durations

if TYPE_CHECKING:  # images are checked without torch and SciPy, which take seconds to import
    from neuromusic.encoding.acoustics import Baseline
    from neuromusic.encoding.stage_components import Played, StageComponents
    from neuromusic.encoding.voxelwise import Encoding
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
    for package in ("himalaya", "nilearn", "librosa"):
        need_package(package, "fmri")
    dataset, out = as_dataset(bids), as_path(out)
    images = as_path(images) if images is not None else dataset.directory
    check_target(out, COMMAND)
    check_network(network)
    check_strategies(options.confounds)
    choice = ImageChoice(options.entities, options.confounds)
    index = index_bids(images, "a folder of images")
    design, sounds = _design_of(dataset, index, subjects, choice)
    opened = open_subjects(design, index, rois, choice)
    from neuromusic.encoding.clip_sets import artist_clean_clips
    from neuromusic.encoding.stage_components import Played
    from neuromusic.training.applied_networks import as_applied

    trained = as_applied(network)
    if sounds:
        runs = design.runs.values()
        available = inputs_from_files(trained, sounds, runs, dataset.directory)
    else:
        available = inputs_from_prepared(trained)
    available.present(design.clips)
    clean = artist_clean_clips(trained, design.clips, _training_clips(design), options.artists)
    for each in opened.values():
        usable = usable_rows(each.scans, available.clips, DELAYS_TR)
        repeats, _ = repeat_rows(each.scans.rows, usable)
        make_folds(each.scans, each.scans.rows, usable, repeats, DELAYS_TR, options.high_pass_hz)
    settings, places = dataset_arguments(
        dataset, network=trained.reference, images=images, subjects=design.subjects, rois=rois,
        options=options,
    )  # fmt: skip
    settings |= trained.settings()
    files = {path for each in opened.values() for path in each.files()}
    files |= {each.events.path for each in design.runs.values() if each.events}
    files |= {options.artists} if options.artists else set()
    inputs = {"network": trained.weights_hash()}
    with working("computing checksums of the images"):
        inputs |= hash_inputs([*files, *rois.files(), *sounds.values()])
    step = Step(
        COMMAND, out, settings, inputs, places, function="encode", overwrite=overwrite,
        work=encoding_work(trained, design, opened, options),
    )  # fmt: skip
    if step.is_done():
        return out
    with step.directory(keep=True) as directory:
        wanted = all_placements(
            (run.trials, run.known_tr_s)
            for each in opened.values()
            for run in each.scans.runs.values()
        )
        rest = design.experiment.time.rest
        played = Played(wanted, _training_clips(design), rest, available)
        features = _features(trained, design, played, sounds, options)
        areas = _encode(directory, trained, features, opened, rois, options, clean, machine)
        shutil.rmtree(directory / WORK)
    _log_scores(areas, len(opened))
    log.info(
        "wrote %s: areas.tsv, contrasts.tsv, group.tsv, similarity.tsv, unique.tsv, figures, and "
        "for each subject voxels.tsv and maps",
        out,
    )
    return out


# --- Checks ---------------------------------------------------------------------------------------


def _design_of(
    dataset: Dataset, images: BidsIndex, subjects: str | Sequence[str], choice: ImageChoice
) -> tuple[Design, dict[str, Path]]:
    """Return the runs of the subjects, with durations, and clip -> sound if the dataset has sounds.

    Raises InputError if a subject has no events.
    """
    experiment = dataset.described()
    everyone = subjects == "all" or list(subjects) == ["all"]
    labels = [subjects] if isinstance(subjects, str) else subjects
    chosen = None if everyone else [label.removeprefix("sub-") for label in labels]
    of_images = [file.run_id for file in images.select("bold", IMAGES)]
    design = load_design(
        dataset.index(), experiment, chosen, [run for run in of_images if run is not None]
    )
    sounds = {}
    if dataset.sounds is not None:
        sounds = find_sounds(design, dataset.sounds, allow_missing=True)
    return with_durations(design, sounds, _tr_of_headers(design, images, choice)), sounds


def _tr_of_headers(design: Design, images: BidsIndex, choice: ImageChoice) -> float | None:
    """Return the TR in the header of an image, if neither metadata nor description have one."""
    if all(each.tr_s is not None for each in design.runs.values()):
        return None
    found = find_bold(images, design.subjects[0], design.experiment.files.tasks, choice.entities)
    files = next(iter(found.values()))
    declared = json_tr_s(files, images)
    return declared[0] if declared else open_run(files).tr_s


def _training_clips(design: Design) -> set[str]:
    """Return the clips of training runs, or all clips if folds divide them."""
    return {
        clip
        for each in design.runs.values()
        if each.split != "test"
        for clip in each.trials["clip"]
    }


# --- Work -----------------------------------------------------------------------------------------


def _encode(
    directory: Path, trained: "AppliedNetwork", features: "tuple[StageComponents, Baseline]",
    opened: Mapping[str, SubjectInputs], rois: Rois, options: EncodingOptions,
    clean: set[str] | None, machine: Machine,
) -> pd.DataFrame:  # fmt: skip
    """Encode all subjects and write all files; return the table of areas."""
    from neuromusic.encoding import (
        area_intervals,
        contrast_tables,
        maps,
        plots,
        tables,
        unique_plots,
    )
    from neuromusic.fmri.export.bids_dataset import write_dataset_files

    components, baseline = features
    results = _encode_subjects(directory, opened, features, options, clean, machine)
    stages = components.trained
    areas = tables.area_scores(results)
    similarity = tables.area_similarity(results, components, options.seed)
    written = {
        "areas": areas,
        "similarity": similarity,
        "contrasts": contrast_tables.contrast_table(results, stages),
        "group": contrast_tables.group_table(results, stages),
        "unique": tables.area_unique_variance(results),
    }
    tables.write_tables(directory, written)
    intervals = area_intervals.area_intervals(results, stages)
    plots.save_figures(
        directory / "figures", areas, intervals, similarity, components.trained, options.figures
    )
    unique_plots.save_figure(directory / "figures", written["unique"], areas, options.figures)
    model = trained.name
    summary = {
        **_summary(model, components, rois, options), **_summary_of_baseline(baseline, options),
    }  # fmt: skip
    write_json(directory / "encoding.json", summary)
    write_dataset_files(
        directory, f"Encoding of responses by the stages of {model}", model, README,
        ignored=(*IGNORED_BY_BIDS, *maps.IGNORED),
    )  # fmt: skip
    return areas


def _features(
    trained: "AppliedNetwork", design: Design, played: "Played", sounds: Mapping[str, Path],
    options: EncodingOptions,
) -> "tuple[StageComponents, Baseline]":  # fmt: skip
    """Return the components of all stages and acoustic features; warn of what is left out."""
    from neuromusic.encoding.acoustics import acoustic_components
    from neuromusic.encoding.designs import JOINT_COMPONENTS
    from neuromusic.encoding.stage_components import compute_components

    components = compute_components(trained, played, options.components, options.control_seeds)
    if components.missing:
        log.warning(
            "%s: does not contain %d of the %d clips that were played; their volumes are left out: "
            "%s",
            played.inputs.source, len(components.missing), len(played.wanted),
            listed(components.missing),
        )  # fmt: skip
    table = design.table()
    classes = dict(zip(table["clip"], table["class"], strict=True))
    baseline = acoustic_components(
        played.inputs.prepared or trained.meta, played.wanted, played.training,
        min(options.components, JOINT_COMPONENTS),
        classes if any(classes.values()) else None, sounds or None,
    )  # fmt: skip
    for line in baseline.left_out:
        log.warning("acoustic baseline: %s", line)
    return components, baseline


def _encode_subjects(
    directory: Path, opened: Mapping[str, SubjectInputs],
    features: "tuple[StageComponents, Baseline]", options: EncodingOptions,
    clean: set[str] | None, machine: Machine,
) -> "dict[str, Encoding]":  # fmt: skip
    """Encode all subjects and write the files of each; return subject -> result."""
    from neuromusic.encoding import tables
    from neuromusic.encoding.subjects import encode_subjects

    results, work = {}, directory / WORK
    for subject, encoded in encode_subjects(opened, features, options, work, clean, machine):
        folder = directory / f"sub-{subject}"
        shutil.rmtree(folder, ignore_errors=True)  # of an interrupted call
        folder.mkdir()
        tables.write_subject(folder, encoded, features[0].trained, options.figures)
        results[subject] = encoded.result
    return results


def _summary(
    model: str, components: "StageComponents", rois: Rois, options: EncodingOptions
) -> Mapping[str, Any]:
    from neuromusic.encoding.fit_rows import PATTERN_FROM_S
    from neuromusic.encoding.score_tables import LEVEL

    atlas = {"Atlas": TALAIRACH_ABOUT} if rois.uses_default_atlas else {}
    return {
        "Model": model,
        "Stages": components.trained,
        "DelaysInVolumes": list(DELAYS_TR),
        "HighPassHz": options.high_pass_hz,
        "ExplainedByComponents": components.explained,
        "Reliable": f"q below {LEVEL:g} of the test that a voxel's repeats are alike; up to "
        f"{100 * LEVEL:g} % of these voxels are expected by chance",
        "PatternFromSeconds": PATTERN_FROM_S,
        "AreaTests": "p: one-sided, shifts by whole clips within test runs; p_holm: Holm over the "
        "areas x stages of one network (and copy), in each subject",
        "Contrasts": "two-sided; p_holm: Holm over all contrasts of an area, in each subject",
        "ControlSeeds": options.control_seeds,
        "Columns": "docs/how-to/encoding.md",
        **atlas,
    }


def _summary_of_baseline(baseline: "Baseline", options: EncodingOptions) -> Mapping[str, Any]:
    from neuromusic.encoding.designs import JOINT_COMPONENTS

    return {
        "AcousticBaseline": {
            "Groups": baseline.explained,
            "MostComponents": min(options.components, JOINT_COMPONENTS),
            "Penalties": "one per group" if options.banded else "one",
            "LeftOut": baseline.left_out,
        },
        "UniqueVariance": "R2 that a stage adds to the acoustic baseline, and to the baseline with "
        f"the stage below; first {min(options.components, JOINT_COMPONENTS)} components of each "
        "stage, residuals on the training volumes; p: one-sided, shifts by whole clips within test "
        "runs; p_holm: Holm over areas x stages, in each subject",
    }


def _log_scores(areas: pd.DataFrame, n_subjects: int) -> None:
    from neuromusic.encoding import plots

    measure, label = plots.best_measure(areas)
    shown = areas[(areas["network"] == "trained") & (areas["clips"] == "all")]
    mean = shown.pivot_table(
        index="area", columns="stage", values=measure, sort=False, dropna=False
    )
    log.info(
        "%s by area and stage, mean over %d subjects:\n%s", label, n_subjects,
        mean.round(3).to_string(),
    )  # fmt: skip
