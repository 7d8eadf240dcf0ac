"""neuromusic lists: link clips under their run names and write stimulus lists."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from neuromusic.cli import options

if TYPE_CHECKING:
    from neuromusic.design.leaks import DropLeaks, Level
    from neuromusic.stimuli.corpora import Corpus

SHARES = "70:15:15"
SHORTEST_S = 15.0  # of the files of a corpus


@click.command("lists")
@click.option("--train-order", type=options.PATH, help=options.TRAIN_ORDER_HELP)
@click.option("--test-order", type=options.PATH, help=options.TEST_ORDER_HELP)
@click.option("--experiment", metavar="FILE",
              help="Description of an experiment, see `neuromusic experiment`.")  # fmt: skip
@click.option("--bids", type=options.PATH, help="For --experiment: BIDS dataset with its events.")
@click.option("--clips", type=options.PATH,
              help="Folder of the clips that the order files or the events name.")  # fmt: skip
@click.option(
    "--from-folder",
    type=options.PATH,
    help="Folder with one folder of sounds per class, instead of orders.",
)
@click.option("--from-gtzan", type=options.PATH, help="GTZAN's folder genres, as wav or au.")
@click.option("--from-fma", type=options.PATH, help="Folder fma_small; needs --tracks.")
@click.option("--tracks", type=options.PATH, help="For --from-fma: tracks.csv of fma_metadata.")
@click.option("--split", metavar="TRAIN:VALID:TEST", show_default=SHARES,
              help="Shares of each class, for --from-folder and --from-gtzan; all clips of a track "
                   "stay together.")  # fmt: skip
@click.option("--folds", is_flag=True,
              help="For --from-folder: file names begin with the number of their fold, a group for "
                   "`crossval` such as ESC-10's five.")  # fmt: skip
@click.option("--clip-s", type=click.FloatRange(0), show_default="15; 0 with --folds",
              help="Shortest file that is accepted, in seconds; not for orders.")  # fmt: skip
@options.seed
@click.option("--drop-leaks", type=click.Choice(["track", "replica", "artist"]),
              help="Do not train on clips that share a track with the test clips; replica: also "
                   "possible copies of a recording; artist: also the same artist.")  # fmt: skip
@options.artists
@click.option("--allow-missing", is_flag=True, help="Continue if clips are missing.")
@click.option(
    "--link", type=click.Choice(["hard", "sym", "copy"]), default="hard", show_default=True,
    help="Use hard links, symbolic links or copies of the clips.",
)  # fmt: skip
@options.out("the linked clips and their lists")
@options.overwrite
@options.dry_run
def command(**values: Any) -> None:
    """Link clips under their run names and write the stimulus lists.

    Order files say which clip is played in which trial of which scanner run; a dummy, which opens
    each run while the signal settles, is added as trial 0. Without order files, the clips come from
    one folder per class or GTZAN, split by track; or from FMA with its own split. With
    --drop-leaks, clips that share something with the test clips are not used for training; those of
    an order keep their place in their run.

    \b
    Examples:
      neuromusic lists --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat \\
        --clips CLIPS --out run_dataset
      neuromusic lists --experiment experiment.toml --bids BIDS --clips SOUNDS --out run_dataset
      neuromusic lists --from-gtzan genres/ --clip-s 29 --drop-leaks artist \\
        --artists artists.tsv --out run_dataset
      neuromusic lists --from-folder genres/ --split 70:15:15 --seed 13 --out run_dataset
      neuromusic lists --from-folder ESC-10/ --folds --out run_dataset
      neuromusic lists --from-fma fma_small --tracks fma_metadata/tracks.csv --out run_dataset
    """
    given = _Options(**values)
    given.check()
    if given.experiment:
        _from_events(given)
        options.next_step(f"neuromusic export NETWORK --lists {given.out} --out exported")
        return
    if given.has_orders():
        _from_orders(given)
    else:
        _from_corpus(given)
    options.next_step(f"neuromusic prepare {given.out} --out prepared")


@dataclass(frozen=True)
class _Options:
    """The options, and which of them go together."""

    train_order: Path | None
    test_order: Path | None
    experiment: str | None
    bids: Path | None
    clips: Path | None
    from_folder: Path | None
    from_gtzan: Path | None
    from_fma: Path | None
    tracks: Path | None
    split: str | None
    folds: bool
    clip_s: float | None
    seed: int
    drop_leaks: "Level | None"
    artists: Path | None
    allow_missing: bool
    link: Literal["hard", "sym", "copy"]
    out: Path
    overwrite: bool

    def has_orders(self) -> bool:
        """Return whether any option of the order files was given."""
        return any((self.train_order, self.test_order, self.clips and not self.experiment))

    def check(self) -> None:
        """Raise UsageError for options that do not go together."""
        self._check_sources()
        self._check_split()
        self._check_leaks()

    def _check_sources(self) -> None:
        sources = (
            self.has_orders(), self.experiment, self.from_folder, self.from_gtzan, self.from_fma,
        )  # fmt: skip
        if sum(map(bool, sources)) != 1:
            raise click.UsageError(
                "give --train-order, --test-order and --clips, or --experiment, --bids and "
                "--clips, or one of --from-folder, --from-gtzan and --from-fma"
            )
        if self.experiment and not (self.bids and self.clips):
            raise click.UsageError("--experiment, --bids and --clips go together")
        if self.bids and not self.experiment:
            raise click.UsageError("--bids needs --experiment")
        if self.has_orders() and not all((self.train_order, self.test_order, self.clips)):
            raise click.UsageError("--train-order, --test-order and --clips go together")
        if bool(self.tracks) != bool(self.from_fma):
            raise click.UsageError("--from-fma and --tracks go together")

    def _check_split(self) -> None:
        if self.folds and (self.split or not self.from_folder):
            raise click.UsageError("--folds needs --from-folder and excludes --split")
        if self.split and not (self.from_folder or self.from_gtzan):
            raise click.UsageError("--split needs --from-folder or --from-gtzan")

    def _check_leaks(self) -> None:
        if self.drop_leaks and self.folds:
            raise click.UsageError("--drop-leaks needs test clips, and --folds has none")
        if self.drop_leaks in ("replica", "artist") and not self.artists:
            raise click.UsageError(f"--drop-leaks {self.drop_leaks} needs --artists")
        if self.artists and not self.drop_leaks:
            raise click.UsageError("--artists needs --drop-leaks")

    def leaks_to_drop(self) -> "DropLeaks | None":
        """Return the level of --drop-leaks with its artist table."""
        from neuromusic.design.leaks import DropLeaks

        return DropLeaks(self.drop_leaks, self.artists) if self.drop_leaks else None

    def corpus(self) -> "Corpus":
        """Return the corpus that one of the --from options names."""
        from neuromusic.stimuli.corpora import Corpus

        if self.from_folder:
            return Corpus("folder", self.from_folder, folds=self.folds)
        if self.from_gtzan:
            return Corpus("gtzan", self.from_gtzan)
        assert self.from_fma
        return Corpus("fma", self.from_fma, self.tracks)


def _from_orders(given: _Options) -> None:
    from neuromusic.pipeline.lists import make_lists

    assert given.train_order and given.test_order and given.clips
    make_lists(
        train_order=given.train_order,
        test_order=given.test_order,
        clips=given.clips,
        out=given.out,
        allow_missing=given.allow_missing,
        link=given.link,
        drop_leaks=given.leaks_to_drop(),
        overwrite=given.overwrite,
    )


def _from_events(given: _Options) -> None:
    from neuromusic.pipeline.experiment_lists import make_experiment_lists

    assert given.experiment and given.bids and given.clips
    make_experiment_lists(
        given.experiment,
        bids=given.bids,
        clips=given.clips,
        out=given.out,
        allow_missing=given.allow_missing,
        link=given.link,
        overwrite=given.overwrite,
    )


def _from_corpus(given: _Options) -> None:
    from neuromusic.pipeline.lists import make_file_lists

    has_own_split = given.folds or given.from_fma
    shortest_s = 0.0 if given.folds else SHORTEST_S
    make_file_lists(
        given.corpus(),
        out=given.out,
        split=None if has_own_split else given.split or SHARES,
        seed=given.seed,
        clip_s=shortest_s if given.clip_s is None else given.clip_s,
        link=given.link,
        drop_leaks=given.leaks_to_drop(),
        overwrite=given.overwrite,
    )
