"""The work of an encoding of images: features, subjects, and what is written of the method."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from neuromusic.core.errors import counted, listed
from neuromusic.core.parallel import Machine
from neuromusic.design.timing import all_placements
from neuromusic.encoding.atlas import TALAIRACH_ABOUT
from neuromusic.encoding.options import DELAYS_TR
from neuromusic.pipeline.encode_inputs import EncodingInputs, training_clips

if TYPE_CHECKING:  # images are checked without torch and SciPy, which take seconds to import
    from neuromusic.encoding.acoustics import Baseline
    from neuromusic.encoding.stage_components import StageComponents
    from neuromusic.encoding.subjects import SubjectEncoding

log = logging.getLogger(__name__)

SUMMARY = "encoding.json"


class Features(NamedTuple):
    """What the sounds of an encoding are described by, and what this was computed from."""

    components: "StageComponents"
    baseline: "Baseline"
    basis: dict[str, Any]


def compute_features(inputs: EncodingInputs, known: Features | None = None) -> Features:
    """Return the components of all stages and acoustic features; warn of what is left out.

    ``known`` are those of other subjects by the same network, which are returned if these subjects
    were played the same.
    """
    from neuromusic.encoding.acoustics import acoustic_components
    from neuromusic.encoding.designs import JOINT_COMPONENTS
    from neuromusic.encoding.stage_components import Played, compute_components

    options, trained = inputs.options, inputs.trained
    wanted = all_placements(
        (run.trials, run.known_tr_s)
        for each in inputs.opened.values()
        for run in each.scans.runs.values()
    )
    training = training_clips(inputs.design)
    table = inputs.design.table()
    classes = dict(zip(table["clip"], table["class"], strict=True))
    basis = {
        "wanted": list(wanted.items()), "training": training, "classes": classes,
        "sounds": dict(inputs.sounds),
        "seconds": table.groupby("clip")["duration_s"].max().to_dict(),
    }  # fmt: skip
    if known is not None and known.basis == basis:
        return known
    rest = inputs.design.experiment.time.rest
    played = Played(wanted, training, rest, inputs.available)
    components = compute_components(trained, played, options.components, options.control_seeds)
    if components.missing:
        log.warning(
            "%s: does not contain %d of the %d clips that were played; their volumes are left out: "
            "%s",
            played.inputs.source, len(components.missing), len(played.wanted),
            listed(components.missing),
        )  # fmt: skip
    baseline = acoustic_components(
        played.inputs.prepared or trained.meta, played.wanted, played.training,
        min(options.components, JOINT_COMPONENTS),
        classes if any(classes.values()) else None, inputs.sounds or None,
    )  # fmt: skip
    for line in baseline.left_out:
        log.warning("acoustic baseline: %s", line)
    return Features(components, baseline, basis)


def encode_each(
    inputs: EncodingInputs, features: Features, work: Path, machine: Machine
) -> "Iterator[tuple[str, SubjectEncoding]]":
    """Yield each subject with its result; ``work`` keeps finished blocks of voxels."""
    from neuromusic.encoding.subjects import encode_subjects

    pair = (features.components, features.baseline)
    return encode_subjects(inputs.opened, pair, inputs.options, work, inputs.clean, machine)


def clear_except(directory: Path, *kept: str) -> None:
    """Remove what an interrupted call has left in a directory, but for the files it continues."""
    for path in directory.iterdir():
        if path.name in kept:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


# --- What is written of the method ----------------------------------------------------------------


def summary_of(inputs: EncodingInputs, features: Features) -> dict[str, Any]:
    """Return the content of ``encoding.json``: the method, and what was computed of the sounds."""
    return {**_summary(inputs, features.components), **_summary_of_baseline(inputs, features)}


def _summary(inputs: EncodingInputs, components: "StageComponents") -> Mapping[str, Any]:
    from neuromusic.encoding.fit_rows import PATTERN_FROM_S
    from neuromusic.encoding.score_tables import LEVEL

    options = inputs.options
    atlas = {"Atlas": TALAIRACH_ABOUT} if inputs.rois.uses_default_atlas else {}
    return {
        "Model": inputs.trained.name,
        "Stages": components.trained,
        "Components": options.components,
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


def _summary_of_baseline(inputs: EncodingInputs, features: Features) -> Mapping[str, Any]:
    from neuromusic.encoding.designs import JOINT_COMPONENTS

    options, baseline = inputs.options, features.baseline
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


def log_scores(areas: pd.DataFrame, n_subjects: int) -> None:
    """Log the mean score of each area and stage of the trained network."""
    from neuromusic.encoding import plots

    measure, label = plots.best_measure(areas)
    shown = areas[(areas["network"] == "trained") & (areas["clips"] == "all")]
    mean = shown.pivot_table(
        index="area", columns="stage", values=measure, sort=False, dropna=False
    )
    log.info(
        "%s by area and stage, mean over %s:\n%s", label, counted(n_subjects, "subject"),
        mean.round(3).to_string(),
    )  # fmt: skip
