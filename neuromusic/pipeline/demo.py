"""The demo: a synthetic corpus, an order pair designed for it, and then the ordinary pipeline."""

import tomllib
from importlib import resources
from pathlib import Path

from neuromusic.core.outputs import new_directory
from neuromusic.core.parallel import Machine, run_calls
from neuromusic.core.progress import Say, track
from neuromusic.core.records import is_current, record
from neuromusic.design.orders import ORDER_FILES, design_orders, write_order
from neuromusic.pipeline.run import run_all
from neuromusic.stimuli import audio, synthetic
from neuromusic.training.config import make_config

CLIPS_PER_GENRE = 14  # 12 + 2 after the published proportion: three training runs, two test runs


def _write_clip(directory: Path, genre: str, number: int, seed: int) -> None:
    audio.write(
        directory / synthetic.clip_name(genre, number), synthetic.make_clip(genre, number, seed)
    )


def run_demo(out: Path, seed: int, workers: int, say: Say) -> None:
    """Make a corpus and its orders below ``out``, then do every step of the demo's experiment."""
    clips, orders = out / "clips", out / "orders"
    names = [(genre, number) for genre in synthetic.FAMILIES for number in range(CLIPS_PER_GENRE)]
    made = record("demo clips", {"seed": seed}, {})
    if not is_current(clips, made):
        with new_directory(clips, made) as part:
            calls = ((part, genre, number, seed) for genre, number in names)
            done = run_calls(_write_clip, calls, Machine(workers))
            for _ in track(done, "synthesise", len(names)):
                pass
    say(f"{clips}: {len(names)} synthetic clips of {len(synthetic.FAMILIES)} families")
    made = record("demo orders", {"seed": seed}, {})
    pair = design_orders([synthetic.clip_name(*name) for name in names], seed)
    # A .mat file holds the time at which it was written: a new one would look like another order.
    if not is_current(orders, made):
        with new_directory(orders, made) as part:
            for order in pair:
                write_order(order, part / ORDER_FILES[order.split])
    for order in pair:
        file = orders / ORDER_FILES[order.split]
        say(f"{file}: {order.n_runs} runs of {order.n_trials} trials")
    tree = tomllib.loads(resources.files("neuromusic").joinpath("demo.toml").read_text("utf-8"))
    tree["paths"] = {
        "train_order": str(orders / ORDER_FILES["train"]),
        "test_order": str(orders / ORDER_FILES["test"]),
        "clips": str(clips),
        "out": str(out),
    }
    tree["train"]["seed"] = seed
    config = make_config(tree, "demo.toml")
    run_all(config, workers, say)
    say(
        f"\nfigures: {out / 'run' / 'figures'}\n"
        f"export:  {out / 'export'}\n\n"
        "with your own data:\n"
        "  neuromusic lists --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat "
        "--clips CLIPS --out run_dataset\n"
        "  neuromusic prepare run_dataset --out prepared\n"
        "  neuromusic train experiments/cortex.toml --prepared prepared --out runs/cortex\n"
        "  neuromusic evaluate runs/cortex\n"
        "  neuromusic export runs/cortex --lists run_dataset --out derivatives/neuromusic"
    )
