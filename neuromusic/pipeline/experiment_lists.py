"""Make the stimulus lists of an experiment from its description and the events of a dataset."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import counted
from neuromusic.core.files import as_path, write_text
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.progress import track
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design import lists
from neuromusic.design.bids import index_bids
from neuromusic.design.dataset import DESCRIPTION
from neuromusic.design.experiment import Experiment, as_experiment
from neuromusic.design.list_runs import RUN_TABLE, RUN_TABLE_COLUMNS
from neuromusic.design.presentations import Design, events_paths, load_design
from neuromusic.design.whole_designs import shared_runs, with_volumes
from neuromusic.pipeline.datasets import find_sounds, with_durations
from neuromusic.pipeline.lists import link_work

log = logging.getLogger(__name__)

COMMAND = "lists"


def make_experiment_lists(
    experiment: Experiment | str | Path,
    *,
    bids: str | Path,
    clips: str | Path,
    out: str | Path,
    allow_missing: bool = False,
    link: lists.Link = "hard",
    overwrite: bool = False,
) -> Path:
    """Write the stimulus lists of any experiment from the events of a BIDS dataset.

    ``train.tsv`` and ``test.tsv`` list one presentation per row. Runs that folds divide are in
    ``test.tsv``, because no network is trained on them. If subjects heard different runs, or the
    same in another order, each subject's runs are listed. ``experiment.toml`` is a copy of the
    description, ``runs.tsv`` has the TR and the number of volumes of each run.

    Parameters
    ----------
    experiment : Experiment, str or Path
        The description, its file, or the name of a preset.
    bids : str or Path
        BIDS dataset with the events.
    clips : str or Path
        Folder of the sounds that the events name, at any depth.
    out : str or Path
        Output directory.
    allow_missing : bool
        Continue if sounds are missing; their rows then have the path n/a.
    link : {"hard", "sym", "copy"}
        How sounds get into ``out``. Hard links fall back to copies across file systems.
    overwrite : bool
        Replace lists in ``out`` that were made with other settings or from other files.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    InputError
        If the events cannot be read, sounds are missing, shorter than they were played or of
        unknown duration, the TR of a run is unknown, or ``out`` contains something else.

    Examples
    --------
    >>> import neuromusic as nm
    >>> out = nm.make_experiment_lists(
    ...     "listening.toml", bids="listening", clips="sounds", out="listening_lists"
    ... )
    >>> sorted(path.name for path in out.glob("*.tsv"))
    ['runs.tsv', 'test.tsv']
    """
    bids, clips, out = map(as_path, (bids, clips, out))
    check_target(out, COMMAND)
    described = as_experiment(experiment)
    index = index_bids(bids)
    events = dict.fromkeys(events_paths(index, described).values())
    design = load_design(index, described)
    files = find_sounds(design, clips, allow_missing)
    design = with_volumes(with_durations(design, files))
    settings, places = arguments(
        bids=bids, clips=clips, allow_missing=allow_missing, link=link,
        experiment=described.model_dump(mode="json", by_alias=True),
    )  # fmt: skip
    inputs = hash_inputs([*events, *files.values()])
    step = Step(
        COMMAND, out, settings, inputs, places, function="make_experiment_lists",
        overwrite=overwrite, work=link_work(list(files.values()), out, link),
    )  # fmt: skip
    if step.is_done():
        return out
    tables = lists.list_design(design)
    with step.directory() as directory:
        tables = _link(tables, files, directory, link)
        lists.write_lists(directory, tables)
        write_text(directory / DESCRIPTION, described.to_toml())
        _run_table(design).to_csv(
            directory / RUN_TABLE, sep="\t", index=False, na_rep="n/a", lineterminator="\n"
        )
    n_runs = len(shared_runs(design))
    of = "every subject" if n_runs < len(design.runs) else counted(len(design.subjects), "subject")
    log.info("wrote %s: %s of %s, %s", out, counted(n_runs, "run"), of,
             counted(len(design.clips), "sound"))  # fmt: skip
    return out


def _link(
    tables: Mapping[str, pd.DataFrame], files: Mapping[str, Path], directory: Path, link: lists.Link
) -> dict[str, pd.DataFrame]:
    """Link the sounds under the paths of the lists; return the lists without missing paths."""
    whole = pd.concat(tables.values()).drop_duplicates("path")
    present = whole[whole["clip"].isin(files)]
    for path, clip in track(
        zip(present["path"], present["clip"], strict=True), "link clips", len(present)
    ):
        lists.link_or_copy(files[clip], directory / path, link)
    return {
        split: table.assign(path=table["path"].mask(~table["clip"].isin(files)))
        for split, table in tables.items()
    }


def _run_table(design: Design) -> pd.DataFrame:
    rows = [
        (run.subject or None, run.session or None, run.task, run.run, each.tr_s, each.n_volumes)
        for run, each in shared_runs(design).items()
    ]
    return pd.DataFrame(rows, columns=list(RUN_TABLE_COLUMNS))
