"""Combinations of networks in a benchmark: the stages of several networks predict together."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from neuromusic.core.files import read_npz
from neuromusic.core.outputs import Step
from neuromusic.core.records import read_record
from neuromusic.encoding.options import SoundOptions
from neuromusic.encoding.sound_responses import halves_of, read_responses, usable
from neuromusic.pipeline.benchmark_cells import Cell

log = logging.getLogger(__name__)

COMMAND = "benchmark combination"
REPAIR = "remove its directory and start again"


@dataclass(frozen=True)
class Combination:
    """Networks that predict one data set together; their own encodings are finished."""

    name: str
    members: tuple[Cell, ...]
    out: Path

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.members[0].dataset.name


def combinations_of(
    chosen: Mapping[str, tuple[str, ...]], cells: list[Cell], finished: list[Cell], out: Path
) -> list[Combination]:
    """Return what can be combined: per data set, the combinations whose members are all finished.

    ``chosen`` are the names of the members of each combination. Each one that cannot be made is
    reported. Responses in time are predicted by one network at a time.
    """
    found = []
    sounds = [cell.dataset.name for cell in cells if cell.dataset.kind == "sounds"]
    for dataset in dict.fromkeys(sounds):
        here = {cell.network.name: cell for cell in finished if cell.dataset.name == dataset}
        for name, members in chosen.items():
            missing = [member for member in members if member not in here]
            if missing:
                log.error("%s, %s: left out, because %s failed", name, dataset, ", ".join(missing))
                continue
            parts = tuple(here[member] for member in members)
            found.append(Combination(name, parts, out.absolute() / name / dataset))
    return found


def combine(combination: Combination) -> None:
    """Predict a data set from all stages of several networks and the baseline; write the scores.

    Every stage, and every part of the baseline, is standardised in the training half and has the
    same weight (`sound_encoding.score`, joined). The files are those of `encode_sounds` that hold
    scores.
    """
    first = combination.members[0]
    hashes = {each.network.name: _inputs(each)["network"] for each in combination.members}
    options = SoundOptions(first.options.protocol)
    settings = {
        "options": asdict(options), "splits": first.splits, "seed": first.seed,
        "networks": list(hashes),
    }  # fmt: skip
    data = {key: value for key, value in _inputs(first).items() if key != "network"}
    joined = sha256("".join(hashes.values()).encode()).hexdigest()
    step = Step(
        COMMAND, combination.out, settings, {"network": joined, **data}, overwrite=True
    )  # what is replaced was made from these members alone
    if step.is_done():
        return
    from neuromusic.encoding import sound_results

    measured = read_responses(first.dataset.responses)
    halves = halves_of(len(measured.sounds), first.splits, first.seed, options.protocol)
    selected = usable(measured, halves, first.dataset.responses)
    features = {
        each.network.name: read_npz(each.out / sound_results.FEATURES, REPAIR)
        for each in combination.members
    }
    result = sound_results.score_joined(features, selected, halves, options.protocol)
    with step.directory() as directory:
        sound_results.write_scores(directory, result)


def _inputs(cell: Cell) -> dict[str, str]:
    record = read_record(cell.out)
    assert record is not None  # the cell is finished
    return dict(record["inputs"])
