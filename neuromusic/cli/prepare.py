"""neuromusic prepare: compute the features of all clips: a prepared set."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from neuromusic.cli import options

if TYPE_CHECKING:
    from neuromusic.core.parallel import Machine


@click.command("prepare")
@click.argument("lists", type=options.PATH, required=False)
@click.option("--features", type=options.PATH,
              help="Precomputed log-mel of training clips (.npz), instead of LISTS; or a folder of "
              "features of the clips in LISTS, see docs/how-to/networks.md.")  # fmt: skip
@click.option("--test-features", type=options.PATH,
              help="Precomputed log-mel of the test clips (.npz).")  # fmt: skip
@click.option(
    "--front-end",
    default="logmel",
    show_default=True,
    help="logmel, cochleagram, modulation or scattering; logmel or modulation with --features.",
)
@options.stages_of_network
@click.option("--waves", is_flag=True, help="Keep the samples too, for networks that take waves.")
@options.channel
@options.seed
@options.workers
@options.device
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Dask scheduler that distributes the work, for example tcp://node1:8786. Its workers must "
    "read the sounds and write the set under the same paths as this machine.",
)
@options.out("the prepared set")
@options.overwrite
@options.dry_run
def command(
    lists: Path | None, features: Path | None, test_features: Path | None, front_end: str,
    network: str | None, stages: tuple[str, ...], frame_s: float, waves: bool,
    channel: Literal["mix", "left", "right"], seed: int, workers: int, device: str,
    dask: str | None, out: Path, overwrite: bool,
) -> None:  # fmt: skip
    """Compute the features of all clips in stimulus lists.

    A front end computes features from sound: log-mel spectrograms by default, or a cochleagram,
    modulations or scattering. Training clips get ten variants: the original and nine augmented
    ones.

    With --network, the features are stages of any network, for a readout that is trained on them.

    Alternatively, use precomputed log-mel: .npz files with features (clips, bands, frames) in dB,
    clip, genre, frame_s and, if there are scanner runs, run and trial.

    \b
    Examples:
      neuromusic prepare run_dataset --out prepared
      neuromusic prepare run_dataset --out prepared --front-end cochleagram --waves
      neuromusic prepare run_dataset --out prepared_musicnn --network musicnn --stages cnn1,cnn2
      neuromusic prepare run_dataset --out prepared_mine --features features/
      neuromusic prepare run_dataset --out prepared --dask tcp://node1:8786
      neuromusic prepare --features train.npz --test-features test.npz --out prepared
    """
    _check(lists, features, test_features, front_end, network, stages, waves, channel)
    if lists is not None and features is not None:
        from neuromusic.pipeline.prepare_folder import prepare_folder

        prepare_folder(
            lists, features, out=out, stages=stages, frame_s=frame_s, overwrite=overwrite
        )
    elif lists is not None:
        machine = _machine(workers, device, dask)
        _start_workers_early(machine, lists, out)
        from neuromusic.pipeline.prepare import prepare

        prepare(
            lists,
            out=out,
            front_end=options.front_end_of(network, stages, frame_s) if network else front_end,
            waves=waves,
            seed=seed,
            channel=channel,
            machine=machine,
            overwrite=overwrite,
        )
    elif features is not None:
        from neuromusic.pipeline.prepare import prepare_features

        prepare_features(
            features, out=out, test=test_features, front_end=front_end, overwrite=overwrite
        )
    _suggest_training(out)


def _check(
    lists: Path | None, features: Path | None, test_features: Path | None, front_end: str,
    network: str | None, stages: tuple[str, ...], waves: bool, channel: str,
) -> None:  # fmt: skip
    """Raise UsageError for options that do not belong together."""
    is_folder = lists is not None and features is not None and features.is_dir()
    if (lists is None) == (features is None) and not is_folder:
        raise click.UsageError("give either LISTS or --features (and --test-features)")
    if test_features and (features is None or is_folder):
        raise click.UsageError("give either LISTS or --features (and --test-features)")
    if network is not None and (features is not None or front_end != "logmel"):
        raise click.UsageError("--network is a front end: give LISTS, and no other front end")
    if stages and network is None and not is_folder:
        raise click.UsageError("--stages needs --network, or LISTS and a folder of --features")
    if features is not None and waves:
        raise click.UsageError("--waves needs LISTS: features contain no samples")
    if features is not None and channel != "mix":
        raise click.UsageError("--channel needs LISTS: features have no channels")


def _suggest_training(out: Path) -> None:
    """Suggest a training whose settings suit the set."""
    from neuromusic.training.suggestion import suitable_changes, suitable_settings

    name = suitable_settings(out)
    changes = "".join(f" --set {change}" for change in suitable_changes(name, out))
    options.next_step(f"neuromusic train {name} --prepared {out} --out runs/{name}{changes}")


def _machine(workers: int, device: str, dask: str | None) -> "Machine":
    from neuromusic.core.parallel import Machine

    device = "cpu" if dask and device == "auto" else options.chosen_device(device)
    return Machine(workers, device, dask)


def _start_workers_early(machine: "Machine", lists: Path, out: Path) -> None:
    """Let worker processes import what they need while this process imports pandas and hashes."""
    from neuromusic.core.parallel import warm_up
    from neuromusic.core.plan import is_dry_run
    from neuromusic.core.records import RECORD
    from neuromusic.features import PRELOAD

    may_be_done = (out / RECORD).is_file()
    if lists.is_dir() and not may_be_done and not is_dry_run():
        warm_up(machine, PRELOAD)
