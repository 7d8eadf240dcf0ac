"""neuromusic sweep: search settings."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("sweep")
@click.argument("settings", type=options.DIRECTORY)
@click.option(
    "--trials", type=click.IntRange(1), required=True,
    help="How many, by all processes together; more than last time adds some.",
)  # fmt: skip
@click.option("--storage", required=True, metavar="URL", help="Database that all processes share.")
@click.option(
    "--prepared", type=options.DIRECTORY, default="prepared", show_default=True,
    help="The prepared set.",
)  # fmt: skip
@click.option("--study", help="Name in the database; that of the settings file without it.")
@click.option(
    "--out", type=options.DIRECTORY, show_default="runs/STUDY",
    help="Directory to make: one run a trial, the table of trials, the best settings.",
)  # fmt: skip
@options.changes
def command(
    settings: Path, trials: int, storage: str, prepared: Path, study: str | None,
    out: Path | None, changes: tuple[str, ...],
) -> None:  # fmt: skip
    """Search for settings; the section [sweep] of the TOML file says which and how.

    The same command in several processes, or on several machines that reach the database, shares
    the trials out. A killed one is started again with the same command: what it had begun goes on.

    \b
    Example:
      neuromusic sweep experiments/sweep-cortex.toml --trials 50 --storage sqlite:///sweep.db
    """
    from neuromusic.core.errors import need_package

    need_package("optuna", "sweep")
    from neuromusic.pipeline.sweep import run_sweep
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)
    name = study or settings.stem
    target = out or Path("runs") / name
    best = run_sweep(config, prepared, trials, storage, name, target, options.say)
    if best.is_file():
        options.next_step(f"neuromusic train {best} --prepared {prepared} --out runs/best")
