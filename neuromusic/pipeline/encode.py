"""Encode images: how well each stage of a network predicts each voxel of each subject."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError, did_you_mean, need_package
from neuromusic.core.files import sha256, write_json
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design.events import EventsFile, find_events
from neuromusic.encoding import plots, tables
from neuromusic.encoding.rois import Rois
from neuromusic.encoding.stage_components import StageComponents, compute_components
from neuromusic.encoding.subjects import EncodingOptions, encode_subject
from neuromusic.encoding.voxelwise import CEILING_FLOOR, DELAYS_TR, PATTERN_FROM_TR, Encoding
from neuromusic.fmri.activations import run_trials
from neuromusic.fmri.bold import find_bold
from neuromusic.fmri.scans import open_scans
from neuromusic.training.trained import WEIGHTS, TrainedNetwork, as_network

log = logging.getLogger(__name__)

COMMAND = "encode"

SubjectEvents = dict[str, list[EventsFile]]  # subject -> the events of its runs


def encode(
    network: TrainedNetwork | Path | str,
    *,
    bids: str | Path,
    out: str | Path,
    images: str | Path | None = None,
    subjects: str | Sequence[str] = "all",
    rois: Rois = Rois(),  # noqa: B008  # immutable
    options: EncodingOptions = EncodingOptions(),  # noqa: B008  # immutable
) -> Path:
    """Predict subjects' fMRI responses from the stages of a network, by ridge regression.

    The responses of each stage to the clips are averaged over each volume, reduced to principal
    components, laid on the volumes of each run and delayed by 1 to 6 volumes (1.5 to 9 s at a TR of
    1.5 s). Each voxel is fitted on the training runs, with a penalty chosen by leave-one-run-out
    cross-validation. It is scored by the correlation r and by R2 on the test clips, averaged over
    their repeats, with a permutation p value, beside the noise ceiling. The same is done with the
    network's weights before training. docs/encoding.md describes the method and the files; for one
    value per sound and voxel use `encode_sounds`.

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
        Selection and filtering of the images, number of components, seed.

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
    ['areas.tsv', 'similarity.tsv']

    References
    ----------
    Naselaris, T. et al. (2011). Encoding and decoding in fMRI. NeuroImage 56, 400-410.
    Schoppe, O. et al. (2016). Measuring the performance of neural models. Frontiers in
    Computational Neuroscience 10, 10.
    """
    need_package("himalaya", "fmri")
    trained, bids, out = as_network(network), Path(bids), Path(out)
    images = Path(images) if images is not None else bids
    events = _events_of(bids, subjects)
    check_target(out, COMMAND)
    files = _input_files(events, images, rois, options)
    settings, places = arguments(
        network=trained.directory, bids=bids, images=images, subjects=list(events), rois=rois,
        options=options,
    )  # fmt: skip
    inputs = {"network": sha256(trained.directory / WEIGHTS), **hash_inputs(files)}
    step = Step(COMMAND, out, settings, inputs, places, function="encode")
    if step.is_done():
        return out
    components = _components(trained, events, options.components)
    with step.directory() as directory:
        results = _encode_subjects(directory, events, images, rois, components, options)
        areas = tables.area_scores(results)
        similarity = tables.area_similarity(results, components, options.seed)
        tables.write_tables(directory, areas, similarity)
        plots.save_figures(directory / "figures", areas, similarity, components.trained)
        summary = _summary(trained.config.model.name, components, options)
        write_json(directory / "encoding.json", summary)
    _log_scores(areas, len(results))
    log.info(
        "wrote %s: areas.tsv, similarity.tsv, figures, and for each subject voxels.tsv and maps",
        out,
    )
    return out


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
                f"{bids}: has no events of sub-{subject}; its subjects are {', '.join(events)}"
                f"{did_you_mean(subject, events)}"
            )
    return {subject: events[subject] for subject in chosen}


def _input_files(
    events: SubjectEvents, images: Path, rois: Rois, options: EncodingOptions
) -> list[Path]:
    files = [file.path for of_subject in events.values() for file in of_subject]
    for subject in events:
        runs = find_bold(images, subject, options.space)
        files += [path for paths in runs.values() for path in paths]
    return files + rois.files()


def _components(trained: TrainedNetwork, events: SubjectEvents, n: int) -> StageComponents:
    """Return the components of all clips that were played; warn of those that are missing."""
    files = [file for of_subject in events.values() for file in of_subject]
    clips = {file.path: run_trials(file)["clip"] for file in files}
    played = pd.concat(clips.values()).unique()
    training = {clip for file in files if file.split == "train" for clip in clips[file.path]}
    components = compute_components(trained, played, training, n)
    if components.missing:
        log.warning(
            "%s: does not contain %d of the %d clips that were played; their volumes are left out: "
            "%s",
            trained.prepared, len(components.missing), len(played), ", ".join(components.missing),
        )  # fmt: skip
    return components


def _encode_subjects(
    directory: Path, events: SubjectEvents, images: Path, rois: Rois, components: StageComponents,
    options: EncodingOptions,
) -> dict[str, Encoding]:  # fmt: skip
    """Encode all subjects and write the files of each; return subject -> result."""
    results = {}
    for number, (subject, files) in enumerate(events.items()):
        scans = open_scans(files, images, options.space)
        rng = np.random.default_rng([options.seed, number])
        scratch = directory / "scratch.npy"
        encoded = encode_subject(scans, rois, components, options, rng, scratch)
        folder = directory / f"sub-{subject}"
        folder.mkdir()
        tables.write_subject(folder, encoded, components.trained)
        results[subject] = encoded.result
    return results


def _summary(
    model: str, components: StageComponents, options: EncodingOptions
) -> Mapping[str, Any]:
    return {
        "Model": model,
        "Stages": components.trained,
        "DelaysInVolumes": list(DELAYS_TR),
        "HighPassHz": options.high_pass_hz,
        "ExplainedByComponents": components.explained,
        "CeilingFloor": CEILING_FLOOR,
        "PatternFromVolume": PATTERN_FROM_TR,
        "Columns": "docs/encoding.md",
    }


def _log_scores(areas: pd.DataFrame, n_subjects: int) -> None:
    measure, label = plots.best_measure(areas)
    mean = areas[areas["network"] == "trained"].pivot_table(
        index="area", columns="stage", values=measure, sort=False, dropna=False
    )
    log.info(
        "%s by area and stage, mean over %d subjects:\n%s", label, n_subjects,
        mean.round(3).to_string(),
    )  # fmt: skip
