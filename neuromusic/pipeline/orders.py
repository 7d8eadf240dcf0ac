"""Check, rebuild and design the order files of an experiment."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neuromusic.core.files import as_path
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.plan import Work
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design import events, orders
from neuromusic.design.orders import ORDER_FILES, Order
from neuromusic.stimuli.clips import find_clips

log = logging.getLogger(__name__)

WORK = Work("two order files", 1.0, 100_000)


@dataclass(frozen=True)
class OrderCheck:
    """Result of `check_orders`.

    Parameters
    ----------
    agreements : list of str
        One line per order file and subject.
    mismatches : list of str
        One line per difference; empty if there is none.
    """

    agreements: list[str]
    mismatches: list[str]


def check_orders(
    *, train_order: str | Path, test_order: str | Path, bids: str | Path | None = None
) -> OrderCheck:
    """Compare order files with the published design, and with the events and images of a dataset.

    Parameters
    ----------
    train_order, test_order : str or Path
        ``ExpTrnOrder.mat`` (variable TrnOrd) and ``ExpValOrder.mat`` (variable ValOrd).
    bids : str or Path, optional
        BIDS dataset whose events and images are compared with the orders, run by run.

    Returns
    -------
    OrderCheck
        ``agreements`` and ``mismatches``, lists of one line each.

    Raises
    ------
    InputError
        If a file cannot be read, or the dataset has no events.

    Examples
    --------
    >>> import neuromusic as nm
    >>> check = nm.check_orders(train_order="orders/ExpTrnOrder.mat",
    ...                         test_order="orders/ExpValOrder.mat")
    >>> print(check.agreements[1])
    orders/ExpValOrder.mat: 1 run of 40 trials, 10 unique clips, as designed
    >>> check.mismatches
    []
    """
    train = orders.read_order(train_order, "train")
    test = orders.read_order(test_order, "test")
    agreements, mismatches = [], []
    for path, order in ((train_order, train), (test_order, test)):
        differences = orders.check_design(order)
        result = f"{len(differences)} differences from the design" if differences else "as designed"
        agreements.append(f"{path}: {_size(order)}, {order.n_clips} unique clips, {result}")
        mismatches += differences
    in_both = sorted(set(train.clips.flat) & set(test.clips.flat))
    mismatches += [f"{clip} is both a training and a test clip" for clip in in_both]
    if bids is not None:
        agreeing, differences = events.check_dataset({"train": train, "test": test}, Path(bids))
        agreements += agreeing
        mismatches += differences
    return OrderCheck(agreements, mismatches)


def rebuild_orders(
    bids: str | Path, *, out: str | Path, overwrite: bool = False
) -> tuple[Order, Order]:
    """Rebuild both order files from the events of a BIDS dataset.

    Parameters
    ----------
    bids : str or Path
        BIDS dataset with the events of all runs of at least one subject.
    out : str or Path
        Output directory, with ``ExpTrnOrder.mat`` and ``ExpValOrder.mat``.
    overwrite : bool
        Replace order files in ``out`` that were rebuilt from other events.

    Returns
    -------
    tuple of Order
        The training and the test order.

    Raises
    ------
    InputError
        If runs are missing, two subjects were presented different clips, or ``out`` contains
        something else or other order files.

    Examples
    --------
    >>> import neuromusic as nm
    >>> train, test = nm.rebuild_orders("bids", out="rebuilt_orders")
    >>> test.split, test.n_trials
    ('test', 40)
    """
    bids, out = as_path(bids), as_path(out)
    command = "orders from-bids"
    check_target(out, command)
    pair, files = events.orders_from_bids(bids)
    settings, places = arguments(bids=bids)
    inputs = hash_inputs(files)
    step = Step(
        command, out, settings, inputs, places, function="rebuild_orders", overwrite=overwrite,
        work=WORK,
    )  # fmt: skip
    _write_orders(pair, step)
    return pair


def design_orders(
    clips: str | Path, *, out: str | Path, seed: int = 0, overwrite: bool = False
) -> tuple[Order, Order]:
    """Design order files for the clips in a folder, following the published design.

    48 + 6 clips per genre give 12 training runs of 40 trials and 6 test runs of 10 clips, each
    presented 4 times; fewer clips give fewer runs.

    Parameters
    ----------
    clips : str or Path
        Folder of clips with names such as ``reggae.00013_15s.wav``, at any depth.
    out : str or Path
        Output directory, with ``ExpTrnOrder.mat`` and ``ExpValOrder.mat``.
    seed : int
        Seed of the random order.
    overwrite : bool
        Replace order files in ``out`` that were designed with another seed or for other clips.

    Returns
    -------
    tuple of Order
        The training and the test order.

    Raises
    ------
    InputError
        If a file is not named as a clip, a genre has fewer than 2 clips, or ``out`` contains
        something else or other order files.

    Examples
    --------
    >>> import neuromusic as nm
    >>> train, test = nm.design_orders("clips", out="new_orders", seed=1)
    >>> train
    Order('train', 1 run x 20 trials, 20 unique clips)
    >>> test
    Order('test', 1 run x 40 trials, 10 unique clips)
    """
    clips, out = as_path(clips), as_path(out)
    command = "orders design"
    check_target(out, command)
    files = find_clips(clips)
    pair = orders.design_orders(sorted(files), seed)
    settings, places = arguments(clips=clips, seed=seed)
    inputs: Mapping[str, str] = hash_inputs(files.values())
    step = Step(
        command, out, settings, inputs, places, function="design_orders", overwrite=overwrite,
        work=WORK,
    )  # fmt: skip
    _write_orders(pair, step)
    n_used = sum(order.n_clips for order in pair)
    log.info("%d of %d clips are used; the others do not fill a whole run", n_used, len(files))
    return pair


def _write_orders(pair: tuple[Order, Order], step: Step) -> None:
    if step.is_done():
        return
    with step.directory() as directory:
        for order in pair:
            orders.write_order(order, directory / ORDER_FILES[order.split])
    for order in pair:
        log.info("wrote %s: %s", step.out / ORDER_FILES[order.split], _size(order))


def _size(order: Order) -> str:
    return f"{order.n_runs} run{'s' if order.n_runs != 1 else ''} of {order.n_trials} trials"
