"""
Which clip is played when
=========================

An order file has the names of the clips, trials by runs. ``design_orders`` makes one for any folder
of clips; here are those of the demo. The dummy that opens each run is not in the file: it is
derived, and has trial 0.
"""

import matplotlib.pyplot as plt
import numpy as np
from gallery_demo import make_demo

import neuromusic as nm
from neuromusic.design.orders import presentations

DEMO = make_demo()
figure, axes = plt.subplots(1, 2, figsize=(9, 7), width_ratios=(3, 2), layout="constrained")
for axis, split, file in zip(
    axes, ("train", "test"), ("ExpTrnOrder.mat", "ExpValOrder.mat"), strict=True
):
    order = nm.read_order(DEMO / "orders" / file, split)
    table = presentations(order)  # one row per presentation, with the dummies
    genres = sorted(set(table["genre"]))
    grid = table.pivot(index="trial", columns="run", values="genre")
    numbers = grid.map(genres.index).to_numpy()
    image = axis.imshow(numbers, aspect="auto", cmap="tab10", vmin=-0.5, vmax=9.5)
    axis.axhline(0.5, color="white", lw=3)  # the dummy is above the line
    axis.set_title(f"{file}: {order.n_runs} runs of {order.n_trials} trials")
    axis.set_xticks(range(grid.shape[1]), grid.columns)
    axis.set_xlabel("run")
    axis.set_ylabel("trial (0: dummy)")
bar = figure.colorbar(image, ax=axes, ticks=np.arange(10))
bar.ax.set_yticklabels(genres)
plt.show()
