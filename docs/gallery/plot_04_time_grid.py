"""
A network on the scanner's time grid
====================================

What the network of the demo makes of one run, volume by volume: the probability of each genre, and
the mean activation of each stage. ``export`` writes the same arrays for all runs.
"""

import matplotlib.pyplot as plt
from gallery_demo import make_demo

import neuromusic as nm

DEMO = make_demo()
network = nm.load_network(DEMO / "run")
x = nm.activations(network, DEMO / "run_dataset", run=("test", 1))

figure, (above, below) = plt.subplots(
    2, 1, sharex=True, figsize=(9, 6), height_ratios=(3, 2), layout="constrained"
)
image = above.imshow(x["probability"].T, aspect="auto", vmin=0, vmax=1, interpolation="nearest")
above.set_yticks(range(len(network.classes)), network.classes)
figure.colorbar(image, ax=above, label="probability")
for name in ("A1", "belt", "PB", "T2T3", "GRU"):
    mean = x[name].mean(1)
    below.plot((mean - mean.mean()) / mean.std(), label=name, lw=1)
below.set_xlabel("volume (1.5 s each; the first ten are the dummy)")
below.set_ylabel("mean activation (SD)")
below.legend(ncols=5, fontsize="small", loc="upper right")
figure.suptitle("Test run 1: ten clips, each played four times")
plt.show()
