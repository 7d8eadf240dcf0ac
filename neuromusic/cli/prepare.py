"""neuromusic prepare: lists and sound, or ready-made log-mel, to a prepared set."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("prepare")
@click.argument("lists", type=options.DIRECTORY, required=False)
@click.option("--features", type=options.DIRECTORY, help="Ready-made log-mel (.npz) to train on.")
@click.option("--test-features", type=options.DIRECTORY, help="Ready-made log-mel to be scored.")
@click.option(
    "--front-end",
    default="logmel",
    show_default=True,
    help="logmel, cochleagram, modulation, scattering; of ready-made log-mel the first or third.",
)
@click.option("--waves", is_flag=True, help="Keep the samples too, for networks that hear them.")
@options.seed
@options.workers
@options.device
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Dask scheduler to send the work to, as tcp://node1:8786; its workers read the sounds and "
    "write the set under the same paths as here.",
)
@options.out("the prepared set")
def command(
    lists: Path | None,
    features: Path | None,
    test_features: Path | None,
    front_end: str,
    waves: bool,
    seed: int,
    workers: int,
    device: str,
    dask: str | None,
    out: Path,
) -> None:
    """Turn lists and their sound into log-mel, the training clips in ten variants.

    Or take ready-made log-mel instead: .npz files with features (clips, bands, frames) in dB, clip,
    genre, frame_s and, if there are runs, run and trial.

    \b
    Examples:
      neuromusic prepare run_dataset --out prepared
      neuromusic prepare run_dataset --out prepared --front-end cochleagram --waves
      neuromusic prepare run_dataset --out prepared --dask tcp://node1:8786
      neuromusic prepare --features train.npz --test-features test.npz --out prepared
    """
    if (lists is None) == (features is None) or (test_features and not features):
        raise click.UsageError("give either LISTS or --features (and --test-features)")
    if lists is not None:
        from neuromusic.core.parallel import Machine, warm_up
        from neuromusic.core.records import RECORD

        device = "cpu" if dask and device == "auto" else options.chosen_device(device)
        if lists.is_dir() and not (out / RECORD).is_file():  # else it may be there already
            warm_up(Machine(workers, device, dask))  # now: there is much to import here, too
    from neuromusic.pipeline import prepare

    if lists is not None:
        prepare.make_prepared(
            lists, out, seed, workers, options.say, front_end, waves, device, dask
        )
    elif features is not None:
        if waves:
            raise click.UsageError("--waves needs LISTS: log-mel holds no samples")
        prepare.make_prepared_features(features, test_features, out, options.say, front_end)
    options.next_step(
        f"neuromusic train experiments/cortex.toml --prepared {out} --out runs/cortex"
    )
