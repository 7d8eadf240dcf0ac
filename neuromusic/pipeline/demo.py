"""Run the whole pipeline on a synthetic corpus, with order files designed for it."""

import logging
import tomllib
from pathlib import Path
from typing import Any

from neuromusic.core.cores import available_cores
from neuromusic.core.figures import FigureStyle
from neuromusic.core.files import as_path
from neuromusic.core.outputs import Step
from neuromusic.core.parallel import Machine, run_calls
from neuromusic.core.plan import Work, begin, size_of
from neuromusic.core.progress import track
from neuromusic.design import orders
from neuromusic.features import PRELOAD
from neuromusic.pipeline.report import report
from neuromusic.pipeline.run import run
from neuromusic.stimuli import audio, synthetic
from neuromusic.training import library
from neuromusic.training.config import make_config

log = logging.getLogger(__name__)

PAGE = "report.html"
# 12 + 2, in the published proportion of training and test clips: three training and two test runs.
CLIPS_PER_GENRE = 14
WORK = Work(
    "140 synthetic clips, their orders, lists, features, a small network, scores and an export",
    120.0,
    500_000_000,
)


def demo(
    out: str | Path,
    *,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
) -> dict[str, Any]:
    """Run the whole pipeline on a small synthetic corpus, in about two minutes.

    Parameters
    ----------
    out : str or Path
        Directory for everything: ``clips`` (140 clips of 15 s, ten genres), ``orders``, what `run`
        writes, and report.html, a page about it.
    seed : int
        Seed of the clips, the orders and the training.
    workers : int, optional
        Number of processes; one per available core by default.
    overwrite : bool
        Replace a demo that was made with another seed or by another version.
    figures : FigureStyle
        Formats and width of the figures.

    Returns
    -------
    dict
        The scores; see `evaluate`.

    Raises
    ------
    InputError
        If ``out`` contains something else, or another demo.

    Examples
    --------
    >>> import neuromusic as nm
    >>> scores = nm.demo("demo")  # doctest: +SKIP
    >>> scores["clip"]["n"]  # doctest: +SKIP
    20
    """
    out = as_path(out)
    workers = workers or available_cores()
    begin(out, WORK, present_bytes=size_of(out))
    clips = _write_clips(out / "clips", seed, workers, overwrite)
    files = _write_orders(out / "orders", seed, overwrite)
    settings = tomllib.loads(library.settings_text("demo"))
    settings["paths"] = {
        "train_order": str(files["train"]),
        "test_order": str(files["test"]),
        "clips": str(clips),
        "out": str(out),
    }
    settings["train"]["seed"] = seed
    config = make_config(settings, "demo.toml")
    scores = run(config, workers=workers, overwrite=overwrite, figures=figures)
    parts = [out / name for name in ("run", "export", "run_dataset")]
    report(parts, out=out / PAGE, title="neuromusic demo: a synthetic corpus", hear=True)
    return scores


def _clips() -> list[tuple[str, int]]:
    """Return (genre, number) of every clip."""
    return [(genre, number) for genre in synthetic.FAMILIES for number in range(CLIPS_PER_GENRE)]


def _write_clips(out: Path, seed: int, workers: int, overwrite: bool) -> Path:
    clips = _clips()
    step = Step("demo clips", out, {"seed": seed}, {}, overwrite=overwrite)
    if step.is_done():
        return out
    with step.directory() as directory:
        calls = ((directory, genre, number, seed) for genre, number in clips)
        written = run_calls(_write_clip, calls, Machine(workers), PRELOAD)
        for _ in track(written, "synthesise", len(clips)):
            pass
    log.info("wrote %s: %d synthetic clips of %d genres", out, len(clips), len(synthetic.FAMILIES))
    return out


def _write_clip(directory: Path, genre: str, number: int, seed: int) -> None:
    wave = synthetic.make_clip(genre, number, seed)
    audio.write(directory / synthetic.clip_name(genre, number), wave)


def _write_orders(out: Path, seed: int, overwrite: bool) -> dict[orders.Split, Path]:
    """Write the order files; return them by split."""
    files = {split: out / name for split, name in orders.ORDER_FILES.items()}
    step = Step("demo orders", out, {"seed": seed}, {}, overwrite=overwrite)
    if step.is_done():
        return files
    pair = orders.design_orders([synthetic.clip_name(*clip) for clip in _clips()], seed)
    with step.directory() as directory:
        for order in pair:
            orders.write_order(order, directory / orders.ORDER_FILES[order.split])
    for order in pair:
        file = files[order.split]
        log.info("wrote %s: %d runs of %d trials", file, order.n_runs, order.n_trials)
    return files
