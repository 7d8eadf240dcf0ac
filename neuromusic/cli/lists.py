"""neuromusic lists: stage clips and write stimulus lists."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("lists")
@click.option("--train-order", type=options.DIRECTORY, help="ExpTrnOrder.mat (variable TrnOrd).")
@click.option("--test-order", type=options.DIRECTORY, help="ExpValOrder.mat (variable ValOrd).")
@click.option("--clips", type=options.DIRECTORY, help="Folder of the clips that the orders name.")
@click.option("--from-folder", type=options.DIRECTORY, help="A class/file tree instead of orders.")
@click.option("--split", metavar="TRAIN:VALID:TEST", default="70:15:15", show_default=True)
@click.option("--clip-s", type=click.FloatRange(0, min_open=True), default=15.0, show_default=True,
              help="With --from-folder: the shortest file that is taken, in seconds.")  # fmt: skip
@options.seed
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
    split: str,
    clip_s: float,
    seed: int,
    allow_missing: bool,
    link: str,
    out: Path,
) -> None:
    """Stage clips under their run names and write the stimulus lists.

    From order files, or from a class/file tree that is split by track.

    \b
    Examples:
      neuromusic lists --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat \\
        --clips CLIPS --out run_dataset
      neuromusic lists --from-folder genres/ --split 70:15:15 --seed 13 --out run_dataset
    """
    from neuromusic import pipeline

    if from_folder is not None:
        if train_order or test_order or clips:
            raise click.UsageError("give either --from-folder or the orders and --clips")
        pipeline.make_folder_lists(from_folder, split, seed, clip_s, out, link, options.say)  # type: ignore[arg-type]
    elif train_order and test_order and clips:
        pipeline.make_lists(train_order, test_order, clips, out, allow_missing, link, options.say)  # type: ignore[arg-type]
    else:
        raise click.UsageError("give --train-order, --test-order and --clips, or --from-folder")
    options.next_step(f"neuromusic prepare {out} --out prepared")
