"""Describe an experiment, compare its description with the data, and draw it."""

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.figures import FORMATS, FigureStyle, save
from neuromusic.core.files import as_path
from neuromusic.core.folders import nfc, why_no_file
from neuromusic.core.outputs import write_result
from neuromusic.design.agreement import Agreement, RunFacts, compare, read_as_far_as_possible
from neuromusic.design.bids import BidsIndex, RunId, index_bids, parse_bids_name
from neuromusic.design.experiment import Experiment, as_experiment
from neuromusic.design.inspection import Inspection, every_run, inspect_dataset
from neuromusic.design.presentations import IMAGES, events_paths, image_place, seconds_of
from neuromusic.fmri.bold import json_tr_s, open_run
from neuromusic.stimuli import audio
from neuromusic.stimuli.clips import find_listed_sounds

log = logging.getLogger(__name__)


def inspect_experiment(bids: str | Path, *, out: str | Path, overwrite: bool = False) -> Inspection:
    """Write the description of an experiment from what a BIDS dataset contains.

    Parameters
    ----------
    bids : str or Path
        BIDS dataset with events; images need not be there.
    out : str or Path
        The TOML file. Comments in it say what was found and what could not be decided.
    overwrite : bool
        Replace a file with another content.

    Returns
    -------
    Inspection
        The description, its text, and the comments.

    Raises
    ------
    InputError
        If there are no events, a file of them cannot be read, no column names a sound, or ``out``
        exists with another content.

    Examples
    --------
    >>> import neuromusic as nm
    >>> found = nm.inspect_experiment("bids", out="experiment.toml")
    >>> sorted(found.experiment.files.tasks)
    ['Test', 'Training']
    """
    bids, out = as_path(bids), as_path(out)
    index = index_bids(bids)
    facts = run_facts(index, every_run(index))
    known = {run: _joined(each) for run, each in facts.items()}
    result = inspect_dataset(index, bids.resolve().name or "experiment", known)
    write_result(out, result.text, overwrite)
    for note in result.notes:
        log.info("%s", note)
    log.info("wrote %s", out)
    return result


def check_experiment(
    experiment: Experiment | str | Path, *, bids: str | Path, sounds: str | Path | None = None
) -> Agreement:
    """Compare the description of an experiment with events, images and sounds of all subjects.

    Runs that only some subjects lack, surplus volumes and images that are not fetched are reported
    as information; everything that contradicts the description, or would be refused later, is a
    mismatch.

    Parameters
    ----------
    experiment : Experiment, str or Path
        The description, its file or the name of a preset.
    bids : str or Path
        BIDS dataset with events and perhaps images, of which only headers are read.
    sounds : str or Path, optional
        Folder with the sounds, found by their file names at any depth.

    Returns
    -------
    Agreement
        ``agreements`` (one line per subject), ``information`` and ``mismatches``.

    Raises
    ------
    InputError
        If there are no events, or the description cannot be read.

    Examples
    --------
    >>> import neuromusic as nm
    >>> found = nm.inspect_experiment("bids", out="described.toml")
    >>> nm.check_experiment(found.experiment, bids="bids").n_runs > 0
    True
    """
    described, bids = as_experiment(experiment), as_path(bids)
    index = index_bids(bids)
    design, errors = read_as_far_as_possible(index, described)
    facts = run_facts(index, events_paths(index, described), described.files.tasks)
    sessions = described.files.sessions
    if sessions:
        facts = {run: each for run, each in facts.items() if run.session in sessions}
    lengths = None if sounds is None else _sound_lengths(as_path(sounds), set(design.clips))
    result = compare(design, facts, lengths)
    result.mismatches[:0] = errors
    return result


def show_experiment(
    experiment: Experiment | str | Path,
    *,
    bids: str | Path,
    out: str | Path,
    subject: str | None = None,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Draw when each run plays which sound, and count runs, sounds and repeats.

    Parameters
    ----------
    experiment : Experiment, str or Path
        The description, its file or the name of a preset.
    bids : str or Path
        BIDS dataset with the events.
    out : str or Path
        The picture: a name that ends with .png, .pdf or .svg.
    subject : str, optional
        Label of the subject that is drawn; by default the first one.
    overwrite : bool
        Replace another picture.

    Returns
    -------
    pandas.DataFrame
        One row per count: ``what`` and ``n``.

    Raises
    ------
    InputError
        If the events cannot be read, there is no such subject, or ``out`` is another picture or has
        another ending.

    Examples
    --------
    >>> import neuromusic as nm
    >>> counts = nm.show_experiment("ds003720", bids="bids", out="design.png")
    >>> list(counts.what)[:2]
    ['subjects', 'runs']
    """
    from neuromusic.design.design_plots import count_table, draw_design
    from neuromusic.design.presentations import load_design

    described, bids, out = as_experiment(experiment), as_path(bids), as_path(out)
    if out.suffix[1:] not in FORMATS:
        raise InputError(f"{out}: expected a name that ends with .{', .'.join(FORMATS)}")
    design = load_design(index_bids(bids), described)
    chosen = (subject or design.subjects[0]).removeprefix("sub-")
    if chosen not in design.subjects:
        load_design(index_bids(bids), described, [chosen])  # raises the message
    counts = count_table(design)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        style = FigureStyle((out.suffix[1:],))
        (drawn,) = save(draw_design(design, chosen), Path(directory) / "design", style)
        write_result(out, drawn.read_bytes(), overwrite)
    log.info("wrote %s", out)
    return counts


# --- Images and sounds ----------------------------------------------------------------------------


def run_facts(
    index: BidsIndex, events: dict[RunId, Path], tasks: Iterable[str] | None = None
) -> dict[RunId, list[RunFacts]]:
    """Return what the images and JSON files say of each run, with events or without."""
    wanted = set(tasks or (run.task for run in events))
    facts: dict[RunId, list[RunFacts]] = {}
    for file in index.select("bold", IMAGES):
        run = file.run_id
        if run is not None and run.task in wanted:
            facts.setdefault(run, []).append(_image_facts(file.path, index))
    for path in index.broken:
        name = parse_bids_name(path)
        run = name.run_id if name and name.suffix == "bold" and name.extension in IMAGES else None
        if run is not None and run.task in wanted:
            reason = f"{path.name} {why_no_file(path)}"
            tr_s = _json_number(index, path, "RepetitionTime")
            facts.setdefault(run, []).append(RunFacts(tr_s, None, path, reason, is_missing=True))
    for run, path in events.items():
        if run not in facts:
            place = image_place(run, path, index)
            n_volumes = _json_number(index, place, "NumberOfVolumes")
            tr_s = _json_number(index, place, "RepetitionTime")
            facts[run] = [RunFacts(tr_s, int(n_volumes) if n_volumes else None)]
    return facts


def _json_number(index: BidsIndex, place: Path, key: str) -> float | None:
    found = index.metadata(place, "bold", key)
    return seconds_of(*found, key=key) if found else None


def _image_facts(path: Path, index: BidsIndex) -> RunFacts:
    """Return the facts of an image from its JSON files and, without reading volumes, its header."""
    declared = json_tr_s([path], index)
    tr_s = declared[0] if declared else None
    try:
        image = open_run([path])
    except InputError as error:
        return RunFacts(tr_s, None, path, str(error))
    tr_source = declared[1] if declared else None
    return RunFacts(tr_s or image.tr_s, image.n_volumes, path, tr_source=tr_source)


def _joined(facts: list[RunFacts]) -> RunFacts:
    """Return one TR and number of volumes for a run with several images: the shortest image's."""
    counts = [each.n_volumes for each in facts if each.n_volumes]
    tr_s = next((each.tr_s for each in facts if each.tr_s), None)
    return RunFacts(tr_s, min(counts, default=None), facts[0].source)


def _sound_lengths(directory: Path, clips: set[str]) -> dict[str, float | str]:
    """Return clip -> length of its file in s, or why it cannot be read; others have the length 0.

    A sound in another format has the same name but for the suffix.
    """
    by_name: dict[str, Path] = {}
    for path in find_listed_sounds(directory):
        by_name.setdefault(nfc(path.name), path)
    by_stem = {Path(name).stem: path for name, path in by_name.items()}
    lengths: dict[str, float | str] = {}
    used = set()
    for clip in sorted(clips):
        found = by_name.get(clip) or by_stem.get(clip) or by_stem.get(Path(clip).stem)
        if found is None:
            continue
        used.add(found)
        if not found.is_file():
            lengths[clip] = f"{found}: {why_no_file(found)}"
            continue
        try:
            lengths[clip] = audio.duration_s(found)
        except InputError as error:
            lengths[clip] = str(error)
    return lengths | {path.name: 0.0 for path in by_name.values() if path not in used}
