"""
Stages by areas, if the truth is known
======================================

Images are simulated: each voxel responds to one stage of the demo's network, with noise and drift.
Then ``encode`` predicts them from all stages. The largest value of each row (bold)
should lie on the diagonal.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from gallery_demo import DEMO, FOLDER, make_images

import neuromusic as nm

images = make_images()
encoded = nm.encode(
    DEMO / "run", bids=images, out=FOLDER / "encoded", overwrite=True,
    rois=nm.Rois("all", atlas=images / "derivatives/truth/areas.nii.gz"),
)  # fmt: skip

table = pd.read_csv(encoded / "areas.tsv", sep="\t")
table = table[table["network"] == "trained"]
grid = table.pivot(index="area", columns="stage", values="r")
stages = [name for name in ("A1", "belt", "PB", "T2T3", "GRU") if name in grid.columns]
areas = [name for name in (*stages, "noise") if name in grid.index]
grid = grid.loc[areas, stages]

figure, axis = plt.subplots(figsize=(6, 5), layout="constrained")
driven = grid.loc[grid.index != "noise"].to_numpy()
image = axis.imshow(grid, cmap="Blues", vmin=driven.min() - 0.05, vmax=driven.max() + 0.05)
for (row, column), value in np.ndenumerate(grid.to_numpy()):
    is_best = value == grid.iloc[row].max() and grid.index[row] != "noise"
    weight = "bold" if is_best else "normal"
    axis.text(column, row, f"{value:.2f}", ha="center", va="center", weight=weight)
axis.set_xticks(range(len(stages)), stages)
axis.set_yticks(range(len(areas)), areas)
axis.set_xlabel("stage that predicts")
axis.set_ylabel("stage that drives the voxels")
figure.colorbar(image, label="r, mean over voxels of the test runs")
plt.show()
