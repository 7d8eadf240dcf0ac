"""Encode images: how well each stage of a network predicts each voxel of each subject."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from neuromusic.core.errors import InputError, did_you_mean, listed, need_package
from neuromusic.core.files import as_path, sha256, write_json
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.progress import working
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design.events import EventsFile, find_events
from neuromusic.encoding.atlas import TALAIRACH_ABOUT
from neuromusic.encoding.estimates import encoding_work
from neuromusic.encoding.inputs import SubjectInputs, check_trained, open_subjects
from neuromusic.encoding.options import DELAYS_TR, EncodingOptions
from neuromusic.encoding.rois import Rois
from neuromusic.fmri.activations import inputs_from_prepared, run_trials
from neuromusic.fmri.scans import repeat_rows, usable_rows

if TYPE_CHECKING:  # images are checked without torch and SciPy, which take seconds to import
    from neuromusic.encoding.acoustics import Baseline
    from neuromusic.encoding.stage_components import StageComponents
    from neuromusic.encoding.voxelwise import Encoding
    from neuromusic.training.trained import TrainedNetwork

log = logging.getLogger(__name__)

COMMAND = "encode"
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

SubjectEvents = dict[str, list[EventsFile]]  # subject -> the events of its runs


def encode(
    network: "TrainedNetwork | Path | str",
    *,
    bids: str | Path,
    out: str | Path,
    images: str | Path | None = None,
    subjects: str | Sequence[str] = "all",
    rois: Rois = Rois(),  # noqa: B008  # immutable
    options: EncodingOptions = EncodingOptions(),  # noqa: B008  # immutable
    overwrite: bool = False,
) -> Path:
    """Predict subjects' fMRI responses from the stages of a network, by ridge regression.

    The responses of each stage to the clips are averaged over each volume, reduced to principal
    components, laid on the volumes of each run and delayed by 1 to 6 volumes (1.5 to 9 s at a TR of
    1.5 s). Each voxel is fitted on the training runs, with a penalty chosen by leave-one-run-out
    cross-validation. It is scored by the correlation r and by R2 on the test clips, averaged over
    their repeats, with a p value from shifts by whole clips within runs, beside the noise ceiling.
    The same is done with random weights (those before training) and with permuted weights, and with
    acoustic features of the clips, beyond which the unique variance of each stage is reported.
    docs/encoding.md describes the method and the files; for one value per sound and voxel use
    `encode_sounds`.

    Parameters
    ----------
    network : TrainedNetwork, str or Path
        The trained network, or its directory. Its prepared set should contain the clips; volumes of
        other clips are left out.
    bids : str or Path
        BIDS dataset with the events of the images.
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

    References
    ----------
    Naselaris, T. et al. (2011). Encoding and decoding in fMRI. NeuroImage 56, 400-410.
    Schoppe, O. et al. (2016). Measuring the performance of neural models. Frontiers in
    Computational Neuroscience 10, 10.
    """
    for package in ("himalaya", "nilearn", "librosa"):
        need_package(package, "fmri")
    bids, out = as_path(bids), as_path(out)
    images = as_path(images) if images is not None else bids
    check_target(out, COMMAND)
    check_trained(network)
    events = _events_of(bids, subjects)
    opened = open_subjects(events, images, rois, options.space)
    from neuromusic.encoding.clip_sets import artist_clean_clips
    from neuromusic.training.trained import WEIGHTS, as_network

    trained = as_network(network)
    available = inputs_from_prepared(trained)
    played = _played_clips(events)
    present = available.present(played)
    clean = artist_clean_clips(trained, played, _training_clips(events), options.artists)
    for each in opened.values():
        repeat_rows(each.scans.rows, usable_rows(each.scans, available.clips, DELAYS_TR))
    settings, places = arguments(
        network=trained.directory, bids=bids, images=images, subjects=list(events), rois=rois,
        options=options,
    )  # fmt: skip
    files = {path for each in opened.values() for path in each.files()}
    files |= {file.path for of_subject in events.values() for file in of_subject}
    files |= {options.artists} if options.artists else set()
    inputs = {"network": sha256(trained.directory / WEIGHTS)}
    with working("computing checksums of the images"):
        inputs |= hash_inputs([*files, *rois.files()])
    step = Step(
        COMMAND, out, settings, inputs, places, function="encode", overwrite=overwrite,
        work=encoding_work(trained, len(present), opened, options),
    )  # fmt: skip
    if step.is_done():
        return out
    with step.directory() as directory:
        areas = _encode(directory, trained, events, opened, rois, options, clean)
    _log_scores(areas, len(opened))
    log.info(
        "wrote %s: areas.tsv, contrasts.tsv, group.tsv, similarity.tsv, unique.tsv, figures, and "
        "for each subject voxels.tsv and maps",
        out,
    )
    return out


# --- Checks ---------------------------------------------------------------------------------------


def _events_of(bids: Path, subjects: str | Sequence[str]) -> SubjectEvents:
    """Return the events of the subjects, or of all; raise InputError if one of them has none."""
    events: SubjectEvents = {}
    for file in find_events(bids):
        events.setdefault(file.subject, []).append(file)
    if subjects == "all" or list(subjects) == ["all"]:
        return events
    labels = [subjects] if isinstance(subjects, str) else subjects
    chosen = [label.removeprefix("sub-") for label in labels]
    for subject in chosen:
        if subject not in events:
            raise InputError(
                f"{bids}: has no events of sub-{subject}; its subjects are {listed(events)}"
                f"{did_you_mean(subject, events)}"
            )
    return {subject: events[subject] for subject in chosen}


def _played_clips(events: SubjectEvents) -> list[str]:
    """Return the names of all clips that were played, each once."""
    files = [file for of_subject in events.values() for file in of_subject]
    return list(pd.concat([run_trials(file)["clip"] for file in files]).unique())


def _training_clips(events: SubjectEvents) -> set[str]:
    """Return the names of the clips that were played in training runs."""
    files = [file for of_subject in events.values() for file in of_subject]
    return {clip for file in files if file.split == "train" for clip in run_trials(file)["clip"]}


# --- Work -----------------------------------------------------------------------------------------


def _encode(
    directory: Path, trained: "TrainedNetwork", events: SubjectEvents,
    opened: Mapping[str, SubjectInputs], rois: Rois, options: EncodingOptions,
    clean: set[str] | None,
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

    components = _components(trained, events, options)
    baseline = _baseline(trained, events, options)
    results = _encode_subjects(directory, opened, (components, baseline), options, clean)
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
    model = trained.config.model.name
    summary = {
        **_summary(model, components, rois, options), **_summary_of_baseline(baseline, options),
    }  # fmt: skip
    write_json(directory / "encoding.json", summary)
    write_dataset_files(
        directory, f"Encoding of responses by the stages of {model}", model, README,
        ignored=(*IGNORED_BY_BIDS, *maps.IGNORED),
    )  # fmt: skip
    return areas


def _components(
    trained: "TrainedNetwork", events: SubjectEvents, options: EncodingOptions
) -> "StageComponents":
    """Return the components of all clips that were played; warn of those that are missing."""
    from neuromusic.encoding.stage_components import compute_components

    played = _played_clips(events)
    components = compute_components(
        trained, played, _training_clips(events), options.components, options.control_seeds
    )
    if components.missing:
        log.warning(
            "%s: does not contain %d of the %d clips that were played; their volumes are left out: "
            "%s",
            trained.prepared, len(components.missing), len(played), listed(components.missing),
        )  # fmt: skip
    return components


def _baseline(
    trained: "TrainedNetwork", events: SubjectEvents, options: EncodingOptions
) -> "Baseline":
    """Return acoustic features of all clips that were played; warn of those that are left out."""
    from neuromusic.encoding.acoustics import acoustic_components
    from neuromusic.encoding.voxelwise import JOINT_COMPONENTS

    trials = [run_trials(file) for of_subject in events.values() for file in of_subject]
    genres = {clip: genre for table in trials for clip, genre in table[["clip", "genre"]].values}
    baseline = acoustic_components(
        trained.prepared, _played_clips(events), _training_clips(events),
        min(options.components, JOINT_COMPONENTS), genres,
    )  # fmt: skip
    for line in baseline.left_out:
        log.warning("acoustic baseline: %s", line)
    return baseline


def _encode_subjects(
    directory: Path, opened: Mapping[str, SubjectInputs],
    features: "tuple[StageComponents, Baseline]", options: EncodingOptions,
    clean: set[str] | None,
) -> "dict[str, Encoding]":  # fmt: skip
    """Encode all subjects and write the files of each; return subject -> result."""
    from neuromusic.encoding import tables
    from neuromusic.encoding.subjects import encode_subject

    results = {}
    for number, (subject, inputs) in enumerate(opened.items()):
        label = f"subject {number + 1} of {len(opened)}"
        encoded = encode_subject(
            inputs, *features, options, directory / "scratch.npy", label, clean
        )
        folder = directory / f"sub-{subject}"
        folder.mkdir()
        tables.write_subject(folder, encoded, features[0].trained, options.figures)
        results[subject] = encoded.result
    return results


def _summary(
    model: str, components: "StageComponents", rois: Rois, options: EncodingOptions
) -> Mapping[str, Any]:
    from neuromusic.encoding.score_tables import LEVEL
    from neuromusic.encoding.voxelwise import PATTERN_FROM_TR

    atlas = {"Atlas": TALAIRACH_ABOUT} if rois.uses_default_atlas else {}
    return {
        "Model": model,
        "Stages": components.trained,
        "DelaysInVolumes": list(DELAYS_TR),
        "HighPassHz": options.high_pass_hz,
        "ExplainedByComponents": components.explained,
        "Reliable": f"q below {LEVEL:g} of the test that a voxel's repeats are alike; up to "
        f"{100 * LEVEL:g} % of these voxels are expected by chance",
        "PatternFromVolume": PATTERN_FROM_TR,
        "AreaTests": "p: one-sided, shifts by whole clips within test runs; p_holm: Holm over the "
        "areas x stages of one network (and copy), in each subject",
        "Contrasts": "two-sided; p_holm: Holm over all contrasts of an area, in each subject",
        "ControlSeeds": options.control_seeds,
        "Columns": "docs/encoding.md",
        **atlas,
    }


def _summary_of_baseline(baseline: "Baseline", options: EncodingOptions) -> Mapping[str, Any]:
    from neuromusic.encoding.voxelwise import JOINT_COMPONENTS

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
