"""A first look: the demo's experiment through the Python API, and one figure.

    python experiments/first_look.py --out first-look

Makes a synthetic corpus, trains a small cortical network on it, and draws what the network makes of
one scanner run: the probability of each genre and the mean activation of each stage, volume by
volume. Takes about three minutes on two cores.
"""

import argparse
import logging
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import neuromusic as nm


def draw(x: dict[str, np.ndarray], classes: list[str], title: str) -> Figure:
    """Draw one run: genre probabilities above, the mean of each stage's units below."""
    stages = [name for name in x if name != "probability"]
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(9, 5), height_ratios=(3, 2), layout="constrained"
    )
    image = above.imshow(x["probability"].T, aspect="auto", vmin=0, vmax=1, cmap="viridis")
    above.set_yticks(range(len(classes)), classes)
    figure.colorbar(image, ax=above, label="probability")
    for name in stages:
        mean = x[name].mean(1)
        below.plot((mean - np.nanmean(mean)) / np.nanstd(mean), label=f"{name}", lw=0.9)
    below.set_xlabel("volume")
    below.set_ylabel("mean activation\n(standardised)")
    below.legend(ncols=len(stages), fontsize="small", loc="upper right")
    figure.suptitle(title)
    return figure


def main() -> None:
    """Run the demo and draw the first training run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("first-look"), help="output directory")
    out = parser.parse_args().out
    logging.basicConfig(level="INFO", format="%(message)s")
    scores = nm.demo(out)
    network = nm.load_network(out / "run")
    x = nm.activations(network, out / "run_dataset", run=("train", 1))
    accuracy = scores["clip"]["accuracy"]
    title = f"{network.config.model.name}, training run 1 (test accuracy {accuracy:.0%})"
    figure = draw(x, network.classes, title)
    path = out / "first_look.png"
    figure.savefig(path, dpi=130)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
