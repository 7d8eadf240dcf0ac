"""neuromusic evaluate: score a trained network."""

from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.core.figures import FigureStyle


@click.command("evaluate")
@click.argument("network", type=options.PATH)
@click.option("--prepared", type=options.PATH,
              help="Prepared set to score.  [default: the one of the training]")  # fmt: skip
@options.artists
@options.figures
@options.overwrite
@options.dry_run
def command(
    network: Path, prepared: Path | None, artists: Path | None, figures: FigureStyle,
    overwrite: bool,
) -> None:  # fmt: skip
    """Score a trained network on the test clips.

    The same network with random weights is scored for comparison. Writes evaluation.json,
    predictions.tsv and figures/ into the network's directory. With an artist table, also reports
    the score of the clips whose artist does not occur in the training.

    \b
    Examples:
      neuromusic evaluate runs/a
      neuromusic evaluate runs/a --artists artists.tsv
    """
    from neuromusic.pipeline.evaluate import evaluate

    evaluate(network, prepared=prepared, artists=artists, figures=figures, overwrite=overwrite)
    lists = _lists_of_runs(network)
    if lists:
        options.next_step(
            f"neuromusic export {network} --lists {lists} --out derivatives/neuromusic"
        )
    else:
        options.next_step(f"neuromusic predict {network} SOUND.wav")


def _lists_of_runs(network: Path) -> str:
    """Return the stimulus lists of a network's scanner runs; "" if it was not trained on any."""
    from neuromusic.core.records import read_record
    from neuromusic.features.prepared import PRESENTATIONS
    from neuromusic.training.trained import load_network

    prepared = load_network(network).prepared
    if not (prepared / PRESENTATIONS).is_file():
        return ""
    recorded = (read_record(prepared) or {}).get("places", {}).get("lists", "")
    is_below = bool(recorded) and Path(recorded).is_relative_to(Path.cwd())
    return str(Path(recorded).relative_to(Path.cwd())) if is_below else recorded
