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

sounds = nm.Dataset(images, sounds=DEMO / "clips")
rois = nm.Rois("all", atlas=images / "derivatives/truth/areas.nii.gz")
tables = []
for name, network in {"mine": mine, "demo": DEMO / "run"}.items():
    out = nm.encode(
        network, bids=sounds, rois=rois, out=FOLDER / f"beside_{name}",
        overwrite=True,
    )  # fmt: skip
    tables.append(pd.read_csv(out / "areas.tsv", sep="\t").assign(of=name))
table = pd.concat(tables)
table = table[table["network"] == "trained"]

figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
grid = table.assign(column=table["of"] + " " + table["stage"]).pivot(
    index="area", columns="column", values="r"
)
grid.plot.bar(ax=axis, width=0.8, rot=0)
axis.axhline(0, color="black", lw=0.8)
axis.set_xlabel("area: the stage that drives its voxels")
axis.set_ylabel("r, mean over voxels of the test runs")
axis.legend(ncols=2, fontsize="small", title="network and stage")
plt.show()
