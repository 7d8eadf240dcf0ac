"""What tables of areas, and tests over subjects, need of one subject; and the file that keeps it.

It is small, because it has areas in place of voxels: subjects can be encoded on different machines,
and compared later.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import read_npz
from neuromusic.encoding.rsa import AreaRdm

Floats = NDArray[np.float64]
AreaStage = tuple[str, str]
ABOUT = "about"  # the array with everything that is no array, as JSON
AREAS, SHIFTS, RDM, STAGE = "area_r", "area_shifts", "rdm", "stage_rdm"  # first part of names
REMEDY = "encode the subject again"


@dataclass(frozen=True, kw_only=True)
class AreaResults:
    """How well each stage predicts the areas of one subject.

    Parameters
    ----------
    areas : pandas.DataFrame
        One row per area and stage, see `area_table`.
    rdms : dict of AreaRdm
        Area -> the dissimilarities of the test clips.
    clips : list of str
        The test clips, in the order of the dissimilarities.
    clip_runs : array (clips,) int64
        The block of each clip, see `UsedRows`.
    n_volumes : int
        Number of volumes of each clip, or segment of one.
    area_r : dict of arrays (1 + groups,)
        (area, stage) -> the area's mean r over all test clips, then without each group of clips;
        see `reliability.clip_weights`.
    area_shifts : dict of lists of arrays (clips of a run,)
        (area, stage) -> how well the predictions of each run match the area at each shift; see
        `shifts.shift_test`. None if a run does not repeat its clips in a fixed order.
    has_folds : bool
        Whether parts of the data are predicted from each other.
    unique : pandas.DataFrame
        Unique variance of each stage in each area, see `unique_table`; without rows if there is no
        acoustic baseline.
    """

    areas: pd.DataFrame
    rdms: dict[str, AreaRdm]
    clips: list[str]
    clip_runs: NDArray[np.int64]
    n_volumes: int
    area_r: dict[AreaStage, Floats]
    area_shifts: dict[AreaStage, list[Floats] | None]
    has_folds: bool
    unique: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class StoredSubject:
    """The results of one subject as a file keeps them.

    ``stages`` are those of the trained network. ``stage_rdms`` maps the stages of all networks to
    the dissimilarities of their responses to the subject's test clips, see `rsa.stage_rdms`.
    """

    results: AreaResults
    stages: list[str]
    stage_rdms: dict[str, Floats]

    def save(self, path: Path) -> None:
        """Write an .npz file; the same results give the same bytes."""
        each = self.results
        about = {
            "stages": self.stages,
            "clips": each.clips,
            "n_volumes": each.n_volumes,
            "has_folds": each.has_folds,
            "shifts": [
                [*key, None if runs is None else len(runs)]
                for key, runs in each.area_shifts.items()
            ],
            "areas": _as_json(each.areas),
            "unique": _as_json(each.unique),
        }
        arrays: dict[tuple[str, ...], NDArray[Any]] = {("clip_runs",): each.clip_runs}
        arrays |= {(AREAS, *key): values for key, values in each.area_r.items()}
        for key, runs in each.area_shifts.items():
            arrays |= {(SHIFTS, *key, str(number)): run for number, run in enumerate(runs or ())}
        for area, of_area in each.rdms.items():
            ends = np.array([of_area.voxels, *of_area.ceiling], np.float64)
            arrays |= {(RDM, area, "rdm"): of_area.rdm, (RDM, area, "voxels, ceiling"): ends}
        arrays |= {(STAGE, stage): rdm for stage, rdm in self.stage_rdms.items()}
        named: dict[str, Any] = {ABOUT: np.array(json.dumps(about))}
        named |= {json.dumps(key): array for key, array in arrays.items()}
        with open(path, "wb") as file:
            np.savez(file, **named)

    @classmethod
    def load(cls, path: Path) -> "StoredSubject":
        """Read a file that `save` has written; raise InputError for any other file."""
        try:
            named = read_npz(path, REMEDY)
            about = json.loads(str(named.pop(ABOUT)))
            arrays = {tuple(json.loads(name)): array for name, array in named.items()}
            return cls(_results(about, arrays), about["stages"], _by_name(arrays, STAGE))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; {REMEDY}") from None
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: is not the results of a subject; {REMEDY}") from None


def _results(about: Mapping[str, Any], arrays: Mapping[tuple[str, ...], Any]) -> AreaResults:
    shifts = {
        (area, stage): None
        if n_runs is None
        else [arrays[SHIFTS, area, stage, str(run)] for run in range(n_runs)]
        for area, stage, n_runs in about["shifts"]
    }
    rdms = {}
    for key, rdm in arrays.items():
        if key[0] == RDM and key[2] == "rdm":
            voxels, low, high = arrays[RDM, key[1], "voxels, ceiling"].tolist()
            rdms[key[1]] = AreaRdm(int(voxels), rdm, (low, high))
    return AreaResults(
        areas=_from_json(about["areas"]),
        rdms=rdms,
        clips=about["clips"],
        clip_runs=arrays["clip_runs",],
        n_volumes=about["n_volumes"],
        area_r={(key[1], key[2]): each for key, each in arrays.items() if key[0] == AREAS},
        area_shifts=shifts,
        has_folds=about["has_folds"],
        unique=_from_json(about["unique"]),
    )


def _by_name(arrays: Mapping[tuple[str, ...], Any], kind: str) -> dict[str, Floats]:
    return {key[1]: array for key, array in arrays.items() if key[0] == kind}


def _as_json(table: pd.DataFrame) -> dict[str, Any]:
    """Return a table as JSON can keep it: floating-point numbers come back exactly."""
    cells = table.astype(object).where(table.notna(), None)
    return {
        "columns": {str(name): str(kind) for name, kind in table.dtypes.items()},
        "rows": [[_plain(cell) for cell in row] for row in cells.to_numpy().tolist()],
    }


def _plain(cell: Any) -> Any:
    return cell.item() if isinstance(cell, np.generic) else cell


def _from_json(content: Mapping[str, Any]) -> pd.DataFrame:
    columns = content["columns"]
    return pd.DataFrame(content["rows"], columns=list(columns), dtype=object).astype(columns)
