"""neuromusic orders: check, rebuild and design order files."""

from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.cli.commands import Subcommands


@click.group("orders", cls=Subcommands)
def command() -> None:
    """Check, rebuild and design the order files of an experiment.

    \b
    Example:
      neuromusic orders check --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat
    """


@command.command()
@options.train_order
@options.test_order
@click.option("--bids", type=options.PATH, help="BIDS dataset to compare with: events and images.")
@click.pass_context
def check(context: click.Context, train_order: Path, test_order: Path, bids: Path | None) -> None:
    """Compare order files with the design of ds003720, and with the events of a BIDS dataset.

    The number of volumes and the TR of its images are compared as well. Prints what agrees, then
    one line per mismatch. Exits with 1 if there are mismatches.

    \b
    Example:
      neuromusic orders check --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat \\
        --bids ds003720
    """
    from neuromusic.pipeline.orders import check_orders

    result = check_orders(train_order=train_order, test_order=test_order, bids=bids)
    for agreement in result.agreements:
        click.echo(agreement)
    for mismatch in result.mismatches:
        click.echo(f"mismatch: {mismatch}")
    click.echo(f"{len(result.mismatches)} mismatches" if result.mismatches else "no mismatch")
    context.exit(1 if result.mismatches else 0)


@command.command("from-bids")
@click.argument("bids", type=options.PATH)
@options.out("both order files", "orders")
@options.overwrite
@options.dry_run
def from_bids(bids: Path, out: Path, overwrite: bool) -> None:
    """Rebuild both order files from the events of a BIDS dataset.

    \b
    Example:
      neuromusic orders from-bids ds003720 --out orders/
    """
    from neuromusic.design.orders import ORDER_FILES
    from neuromusic.pipeline.orders import rebuild_orders

    rebuild_orders(bids, out=out, overwrite=overwrite)
    options.next_step(
        f"neuromusic orders check --train-order {out / ORDER_FILES['train']} "
        f"--test-order {out / ORDER_FILES['test']} --bids {bids}"
    )


@command.command()
@click.option("--clips", type=options.PATH, required=True, help="Folder of clips.")
@options.seed
@options.out("both order files", "orders")
@options.overwrite
@options.dry_run
def design(clips: Path, seed: int, out: Path, overwrite: bool) -> None:
    """Design order files for the clips in a folder, following the published design.

    48 + 6 clips per genre give 12 training runs of 40 trials and 6 test runs of 10 clips, each
    played 4 times. Fewer clips give fewer runs.

    \b
    Example:
      neuromusic orders design --clips CLIPS --seed 0 --out orders/
    """
    from neuromusic.design.orders import ORDER_FILES
    from neuromusic.pipeline.orders import design_orders

    design_orders(clips, out=out, seed=seed, overwrite=overwrite)
    options.next_step(
        f"neuromusic lists --train-order {out / ORDER_FILES['train']} "
        f"--test-order {out / ORDER_FILES['test']} --clips {clips} --out run_dataset"
    )
