"""neuromusic sweep: search for settings."""

from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.cli.settings import settings as settings_argument
from neuromusic.core.figures import FigureStyle


@click.command("sweep")
@settings_argument
@click.option(
    "--trials", type=click.IntRange(1), required=True,
    help="Number of trials over all processes; a larger number than last time adds trials.",
)  # fmt: skip
@click.option("--storage", required=True, metavar="URL",
              help="Database shared by all processes, for example sqlite:///sweep.db.")  # fmt: skip
@click.option(
    "--prepared", type=options.PATH, default="prepared", show_default=True,
    help="Prepared set to train on.",
)  # fmt: skip
@click.option("--study", show_default="name of the settings file",
              help="Name of the study in the database.")  # fmt: skip
@click.option(
    "--out", type=options.PATH, show_default="runs/STUDY",
    help="Output directory for one trained network per trial, the table of trials and the best "
    "settings.",
)  # fmt: skip
@options.changes
@options.figures
@options.overwrite
@options.dry_run
def command(
    settings: str, trials: int, storage: str, prepared: Path, study: str | None,
    out: Path | None, changes: tuple[str, ...], figures: FigureStyle, overwrite: bool,
) -> None:  # fmt: skip
    """Search for the best settings.

    The section [sweep] of the TOML file specifies the search. Start the same command in several
    processes, or on several machines that reach the database, to share the trials among them. To
    continue after an interruption, repeat the command: it resumes unfinished trials.

    \b
    Example:
      neuromusic sweep sweep-cortex --trials 60 --storage sqlite:///sweep.db
    """
    from neuromusic.core.errors import need_package

    need_package("optuna", "sweep")
    from neuromusic.pipeline.sweep import sweep
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)
    name = study or Path(settings).stem
    best = sweep(
        config,
        prepared,
        storage=storage,
        trials=trials,
        study=name,
        out=out or Path("runs", name),
        figures=figures,
        overwrite=overwrite,
    )
    if best.is_file():
        options.next_step(f"neuromusic train {best} --prepared {prepared} --out runs/best")
