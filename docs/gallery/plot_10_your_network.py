"""
A network of yours beside simulated voxels
==========================================

Any torch module can be encoded. This one has two convolutions with random weights; beside it is the
network that drives the simulated voxels. ``early`` and ``late`` are names that you choose.
"""

import matplotlib.pyplot as plt
import pandas as pd
import torch
from gallery_demo import DEMO, FOLDER, make_images
from torch import nn

import neuromusic as nm

images = make_images()
torch.manual_seed(0)
net = nn.Sequential(nn.Conv1d(128, 32, 9), nn.ReLU(), nn.Conv1d(32, 32, 9, 2), nn.ReLU())
mine = nm.External(net, {"early": "1", "late": "3"}, front_end="logmel", name="mine")

rois = nm.Rois("all", atlas=images / "derivatives/truth/areas.nii.gz")
sounds = nm.Dataset(images, sounds=DEMO / "clips")
encoded = {
    "mine": nm.encode(mine, bids=sounds, rois=rois, out=FOLDER / "mine", overwrite=True),
    "demo": nm.encode(DEMO / "run", bids=images, rois=rois, out=FOLDER / "encoded"),
}
tables = [pd.read_csv(out / "areas.tsv", sep="\t").assign(of=name) for name, out in encoded.items()]
table = pd.concat(tables)
table = table[table["network"] == "trained"]

figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
table["column"] = table["of"] + " " + table["stage"]
grid = table.pivot(index="area", columns="column", values="r")
areas = ("A1", "belt", "PB", "T2T3", "noise")
columns = [f"demo {stage}" for stage in areas[:-1]] + ["mine early", "mine late"]
grid.loc[list(areas), columns].plot.bar(ax=axis, width=0.8, rot=0, colormap="tab20b")
axis.axhline(0, color="black", lw=0.8)
axis.set_xlabel("area: the stage that drives its voxels")
axis.set_ylabel("r, mean over voxels of the test runs")
figure.legend(*axis.get_legend_handles_labels(), loc="outside right", title="network and stage")
axis.get_legend().remove()
plt.show()
