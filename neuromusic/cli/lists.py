"""neuromusic lists: stage clips and write stimulus lists."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neuromusic.cli import options

if TYPE_CHECKING:
    from neuromusic.design.leaks import Level

Paths = Mapping[str, Path | None]


@click.command("lists")
@click.option("--train-order", type=options.DIRECTORY, help="ExpTrnOrder.mat (variable TrnOrd).")
@click.option("--test-order", type=options.DIRECTORY, help="ExpValOrder.mat (variable ValOrd).")
@click.option("--clips", type=options.DIRECTORY, help="Folder of the clips that the orders name.")
@click.option("--from-folder", type=options.DIRECTORY, help="A class/file tree instead of orders.")
@click.option("--from-gtzan", type=options.DIRECTORY, help="GTZAN's genres, wav or au.")
@click.option("--from-fma", type=options.DIRECTORY, help="fma_small, with --tracks.")
@click.option("--tracks", type=options.DIRECTORY, help="tracks.csv of fma_metadata.")
@click.option("--split", metavar="TRAIN:VALID:TEST", show_default="70:15:15",
              help="With a folder or GTZAN: the shares of each class, by track.")  # fmt: skip
@click.option("--folds", is_flag=True,
              help="With a folder: the fold is the number that begins a file name.")  # fmt: skip
@click.option("--clip-s", type=click.FloatRange(0), show_default="15, with --folds 0",
              help="Without orders: the shortest file that is taken, in seconds.")  # fmt: skip
@options.seed
@click.option("--drop-leaks", type=click.Choice(["track", "replica", "artist"]),
              help="Drop from the training what shares a track with the test, also what may be the "
                   "same recording, or every artist.")  # fmt: skip
@options.artists
@click.option("--allow-missing", is_flag=True, help="Go on although clips are missing.")
@click.option(
    "--link", type=click.Choice(["hard", "sym", "copy"]), default="hard", show_default=True
)
@options.out("the staged clips and their lists")
def command(
    train_order: Path | None,
    test_order: Path | None,
    clips: Path | None,
    from_folder: Path | None,
    from_gtzan: Path | None,
    from_fma: Path | None,
    tracks: Path | None,
    split: str | None,
    folds: bool,
    clip_s: float | None,
    seed: int,
    drop_leaks: "Level | None",
    artists: Path | None,
    allow_missing: bool,
    link: str,
    out: Path,
) -> None:
    """Stage clips under their run names and write the stimulus lists.

    From order files; from a class/file tree or GTZAN, split by track; from FMA with its own split.
    With --drop-leaks the clips of an order stay where they were played, but are not trained on.

    \b
    Examples:
      neuromusic lists --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat \\
        --clips CLIPS --out run_dataset
      neuromusic lists --from-gtzan genres/ --clip-s 29 --drop-leaks artist \\
        --artists artists.tsv --out run_dataset
      neuromusic lists --from-folder genres/ --split 70:15:15 --seed 13 --out run_dataset
      neuromusic lists --from-folder ESC-10/ --folds --out run_dataset
      neuromusic lists --from-fma fma_small --tracks fma_metadata/tracks.csv --out run_dataset
    """
    from neuromusic.design import grid
    from neuromusic.pipeline import lists
    from neuromusic.stimuli.corpora import fma, gtzan

    orders = (train_order, test_order, clips)
    trees = {"folder": from_folder, "gtzan": from_gtzan, "fma": from_fma}
    _check_sources(orders, trees, tracks)
    _check_split(split, folds, trees)
    _check_drop(drop_leaks, artists, folds)
    drop = (drop_leaks, artists)
    if any(orders):
        lists.make_lists(*orders, out, allow_missing, link, options.say, *drop)  # type: ignore[arg-type]
    else:
        origin = {name: path for name, path in {**trees, "tracks": tracks}.items() if path}
        files = lists.file_table(origin, folds)
        size = gtzan.SIZE if from_gtzan else fma.SIZE
        if not from_folder:
            options.say(f"{from_gtzan or from_fma}: has {len(files)} of {size} files")
        shares = None if folds or from_fma else split or "70:15:15"
        least_s = (0.0 if folds else grid.CLIP_S) if clip_s is None else clip_s
        lists.make_file_lists(files, shares, seed, least_s, out, link, options.say, origin, *drop)  # type: ignore[arg-type]
    options.next_step(f"neuromusic prepare {out} --out prepared")


def _check_sources(orders: Sequence[Path | None], trees: Paths, tracks: Path | None) -> None:
    if sum(map(bool, (any(orders), *trees.values()))) != 1:
        raise click.UsageError(
            "give --train-order, --test-order and --clips, or one of --from-folder, --from-gtzan "
            "and --from-fma"
        )
    if any(orders) and not all(orders):
        raise click.UsageError("--train-order, --test-order and --clips go together")
    if bool(tracks) != bool(trees["fma"]):
        raise click.UsageError("--from-fma and --tracks go together")


def _check_split(split: str | None, folds: bool, trees: Paths) -> None:
    if folds and (split or not trees["folder"]):
        raise click.UsageError("--folds needs --from-folder and goes without --split")
    if split and not (trees["folder"] or trees["gtzan"]):
        raise click.UsageError("--split needs --from-folder or --from-gtzan")


def _check_drop(drop_leaks: str | None, artists: Path | None, folds: bool) -> None:
    if drop_leaks and folds:
        raise click.UsageError("--drop-leaks needs a test side, and --folds makes none")
    if drop_leaks in ("replica", "artist") and not artists:
        raise click.UsageError(f"--drop-leaks {drop_leaks} needs --artists")
    if artists and not drop_leaks:
        raise click.UsageError("--artists goes with --drop-leaks")
