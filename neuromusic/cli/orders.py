"""neuromusic orders: check, rebuild and design order files."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.group("orders")
def command() -> None:
    """Check, rebuild and design the experiment's order files.

    \b
    Example:
      neuromusic orders check --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat
    """


@command.command()
@options.train_order
@options.test_order
@click.option("--bids", type=options.DIRECTORY, help="BIDS dataset whose events to compare.")
@click.pass_context
def check(ctx: click.Context, train_order: Path, test_order: Path, bids: Path | None) -> None:
    """Compare order files with their design and with a dataset's events and images.

    Prints what agrees and, row by row, what does not; exits 1 on a mismatch.

    \b
    Example:
      neuromusic orders check --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat \\
        --bids ds003720
    """
    from neuromusic.design.events import check_dataset
    from neuromusic.design.orders import Order, Split, check_design, read_order

    faults = []
    orders: dict[Split, Order] = {}
    splits: tuple[tuple[Split, Path], ...] = (("train", train_order), ("test", test_order))
    for split, path in splits:
        order = orders[split] = read_order(path, split)
        unique = len(set(order.clips.flat))
        found = check_design(order)
        faults += found
        click.echo(
            f"{path}: {order.n_runs} runs of {order.n_trials} trials, {unique} unique clips, "
            + (f"{len(found)} departures from the design" if found else "as designed")
        )
    both = sorted(set(orders["train"].clips.flat) & set(orders["test"].clips.flat))
    faults += [f"{clip} is both a training and a test clip" for clip in both]
    if bids is not None:
        agreeing, found = check_dataset(orders, bids)
        faults += found
        for line in agreeing:
            click.echo(line)
    for fault in faults:
        click.echo(f"mismatch: {fault}")
    click.echo(f"{len(faults)} mismatches" if faults else "no mismatch")
    ctx.exit(1 if faults else 0)


@command.command("from-bids")
@click.argument("bids", type=options.DIRECTORY)
@options.out("both order files", "orders")
def from_bids(bids: Path, out: Path) -> None:
    """Rebuild both order files from the events of a BIDS dataset.

    \b
    Example:
      neuromusic orders from-bids ds003720 --out orders/
    """
    from neuromusic.core.outputs import new_directory
    from neuromusic.core.records import hash_inputs, record
    from neuromusic.design.events import find_events, orders_from_bids
    from neuromusic.design.orders import ORDER_FILES, write_order

    orders = orders_from_bids(bids)
    inputs = hash_inputs(file.path for file in find_events(bids))
    with new_directory(out, record("orders from-bids", {}, inputs)) as part:
        for order in orders:
            write_order(order, part / ORDER_FILES[order.split])
    for order in orders:
        click.echo(
            f"wrote {out / ORDER_FILES[order.split]}: "
            f"{order.n_runs} runs of {order.n_trials} trials"
        )
    options.next_step(
        f"neuromusic orders check --train-order {out / ORDER_FILES['train']} "
        f"--test-order {out / ORDER_FILES['test']} --bids {bids}"
    )


@command.command()
@click.option("--clips", type=options.DIRECTORY, required=True, help="Folder of clips.")
@options.seed
@options.out("both order files", "orders")
def design(clips: Path, seed: int, out: Path) -> None:
    """Design order files for the clips in a folder, after the published design.

    48 + 6 clips a genre make 12 training runs of 40 trials and 6 test runs of 10 clips, each
    played 4 times; fewer clips make fewer runs.

    \b
    Example:
      neuromusic orders design --clips CLIPS --seed 0 --out orders/
    """
    from neuromusic.core.outputs import new_directory
    from neuromusic.core.records import record
    from neuromusic.design.orders import ORDER_FILES, design_orders, write_order
    from neuromusic.stimuli.clips import find_clips

    names = sorted(find_clips(clips))
    orders = design_orders(names, seed)
    made = record("orders design", {"seed": seed, "clips": names}, {})
    with new_directory(out, made) as part:
        for order in orders:
            write_order(order, part / ORDER_FILES[order.split])
    used = sum(len(set(order.clips.flat)) for order in orders)
    for order in orders:
        click.echo(
            f"wrote {out / ORDER_FILES[order.split]}: "
            f"{order.n_runs} runs of {order.n_trials} trials"
        )
    click.echo(f"{used} of {len(names)} clips are used; the rest fills no whole run")
    options.next_step(
        f"neuromusic lists --train-order {out / ORDER_FILES['train']} "
        f"--test-order {out / ORDER_FILES['test']} --clips {clips} --out run_dataset"
    )
