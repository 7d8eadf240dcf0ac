"""Maps of an encoding as files of a BIDS derivative: their names, descriptions and units.

The names are those that nilearn and FitLins give to statistical maps:
``sub-01_space-MNI152NLin2009cAsym_stat-r_desc-A1_statmap.nii.gz``. The standard (1.10) has no place
for such maps yet, so ``.bidsignore`` lists them.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.files import write_json
from neuromusic.design.bids import parse_bids_name
from neuromusic.encoding.atlas import standard_space
from neuromusic.encoding.model_names import PERMUTED, RANDOM, TRAINED, split_name
from neuromusic.fmri.export.bids_dataset import bids_label
from neuromusic.fmri.voxel_space import VoxelSpace, read_image

IGNORED = ("*_statmap.*",)  # for .bidsignore
KEPT_ENTITIES = ("space", "res", "den")  # of the images' names, in the order of BIDS
NATIVE = "orig"  # BIDS: the space of the image itself
# Column of a subject's voxels -> stat, desc, description.
OF_VOXELS = {
    "explainable": (
        "explainable", "", "share of one presentation's variance that the repeats have in common",
    ),
    "explainable_low": ("explainable", "low", "lower end of the 95 % interval of explainable"),
    "explainable_high": ("explainable", "high", "upper end of the 95 % interval of explainable"),
    "ceiling_r": (
        "ceiling", "", "highest correlation that any model can have with the mean of the repeats",
    ),
    "best_r": (
        "r", "best",
        "r of the stage that predicts the left-out training runs best; NaN unless its q, over the "
        "voxels of the subject, is below .05",
    ),
}  # fmt: skip
# First word of a stage's column -> description.
OF_STAGES = {
    "r": "correlation of predicted and measured responses to the test clips",
    "rc": "r divided by the noise ceiling; NaN if the voxel is not reliable",
    "q": "one-sided p value of r, from shifts by whole clips within the test runs, after Benjamini "
    "and Hochberg over the voxels and the stages of the network",
}
# The same for what a stage explains beyond smaller models -> stat, description.
BEYOND = {
    "unique": ("r2", "R2 that the stage adds to the acoustic baseline; it may be negative"),
    "unique_q": (
        "q", "one-sided p value of what the stage adds to the acoustic baseline, from shifts by "
        "whole clips within the test runs, after Benjamini and Hochberg over voxels and stages",
    ),
    "above": (
        "r2", "R2 that the stage adds to the acoustic baseline and the stage below; it may be "
        "negative",
    ),
    "above_q": (
        "q", "one-sided p value of what the stage adds to the acoustic baseline and the stage "
        "below, from shifts by whole clips within the test runs, after Benjamini and Hochberg over "
        "voxels and stages",
    ),
}  # fmt: skip
OF_CONTROLS = ("r",)  # the same for stages of the first copy of each control network
WEIGHTS = {
    TRAINED: "trained",
    RANDOM: "random, as before training",
    PERMUTED: "permuted: trained weights, those of each tensor in random order",
}


class MapNames:
    """Names of a subject's maps: those of its images, with a statistic and a description.

    Parameters
    ----------
    subject : str
        The subject's label, without ``sub-``.
    space : VoxelSpace
        The voxels of the subject's images.
    """

    def __init__(self, subject: str, space: VoxelSpace) -> None:
        self.subject = subject
        self.space = space
        name = parse_bids_name(space.files[0])
        entities = name.entities if name else {}
        self.entities = {key: entities[key] for key in KEPT_ENTITIES if entities.get(key)}
        self.entities = {"space": self._space_of_header(), **self.entities}

    def _space_of_header(self) -> str:
        """Return the standard space that the header of a volume declares, or NATIVE."""
        if self.space.kind != "volume":
            return NATIVE
        path = self.space.files[0]
        declared = standard_space(path.name, read_image(path))
        return {"MNI": "MNI152", "Talairach": "Talairach"}.get(declared or "", NATIVE)

    def stem(self, stat: str, description: str, side: str) -> str:
        """Return the name of a map without its extension; ``side`` is "L", "R" or ""."""
        pairs = {"sub": self.subject, "hemi": side, **self.entities, "stat": stat}
        pairs["desc"] = description
        parts = [f"{key}-{bids_label(value)}" for key, value in pairs.items() if value]
        return "_".join([*parts, "statmap"])


def mapped_columns(table: pd.DataFrame) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Return column -> stat, desc and metadata for the columns of `Encoding.voxels` to map."""
    mapped = {}
    for column in table.columns:
        if column in OF_VOXELS:
            stat, description, text = OF_VOXELS[column]
            mapped[column] = (stat, description, {"Description": text})
            continue
        if (kind := _beyond(column)) is not None:
            (stat, text), stage = BEYOND[kind], column.removeprefix(f"{kind}_")
            about = {"Description": text, "Stage": stage, "Weights": WEIGHTS[TRAINED]}
            mapped[column] = (stat, f"{kind.removesuffix('_q')}-{stage}", about)
            continue
        stat, _, stage = column.partition("_")
        model = split_name(stage)
        is_mapped = model.seed == 0 or (stat in OF_CONTROLS and model.seed == 1)
        if stat in OF_STAGES and is_mapped:
            about = {"Description": OF_STAGES[stat], "Stage": model.stage}
            if model.network in WEIGHTS:
                about["Weights"] = WEIGHTS[model.network]
            mapped[column] = (stat, stage, about)
    return _with_different_labels(mapped)


def _beyond(column: str) -> str | None:
    """Return the key of BEYOND that a column begins with, if it is to be mapped."""
    if column.startswith(("unique_p_", "above_p_")):
        return None
    return next((k for k in sorted(BEYOND, reverse=True) if column.startswith(f"{k}_")), None)


def _with_different_labels(
    mapped: Mapping[str, tuple[str, str, dict[str, str]]],
) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Number descriptions that would be the same without their punctuation, in any case."""
    seen: dict[tuple[str, str], int] = {}
    different = {}
    for column, (stat, description, about) in mapped.items():
        label = bids_label(description) if description else ""
        number = seen[stat, label.lower()] = seen.get((stat, label.lower()), 0) + 1
        different[column] = (stat, label if number == 1 else f"{label}x{number}", about)
    return different


def write_maps(
    directory: Path, names: MapNames, voxels: NDArray[np.integer], table: pd.DataFrame
) -> None:
    """Write a map of each mapped column, and a JSON file with its description and units.

    ``directory`` is made; ``table`` has one row for each of ``voxels`` (n,).
    """
    directory.mkdir(parents=True)
    for column, (stat, description, about) in mapped_columns(table).items():
        stems = [directory / names.stem(stat, description, side) for side in names.space.sides]
        values = table[column].to_numpy(np.float64)
        paths = [stem.with_name(f"{stem.name}{names.space.extension}") for stem in stems]
        names.space.write_map(paths, voxels, values)
        for stem in stems:
            content = {**about, "Units": "1", "SpatialReference": names.entities["space"]}
            write_json(stem.with_name(f"{stem.name}.json"), content)
