"""
The ten variants of a training clip
===================================

``prepare`` computes the features of each training clip in ten variants: the clip itself and nine
changed copies. Their parameters are drawn from the seed, the clip and the number of the variant,
so the same seed gives the same variants, whatever the number of workers.
"""

import json

import matplotlib.pyplot as plt
from gallery_demo import make_demo

import neuromusic as nm

DEMO = make_demo()
data = nm.open_prepared(DEMO / "prepared")
rows = data.rows[data.rows["split"] == "train"]
rows = rows[rows["clip"] == rows["clip"].iloc[0]]

figure, axes = plt.subplots(2, 5, figsize=(11, 4.5), sharex=True, sharey=True, layout="constrained")
for axis, row in zip(axes.flat, rows.itertuples(), strict=True):
    features = data.row_features(row.row)  # (bands, frames) in dB
    seconds = features.shape[1] * data.frame_s
    axis.imshow(
        features, origin="lower", aspect="auto", vmin=-60, vmax=10,
        extent=(0, seconds, 0, len(features)), cmap="magma",
    )  # fmt: skip
    parameters = json.loads(row.parameters)
    shown = ", ".join(
        f"{key} {value:.3g}" for key, value in parameters.items() if "seed" not in key
    )
    axis.set_title(f"{row.variant}: {row.name}\n{shown}", fontsize="small")
for axis in axes[:, 0]:
    axis.set_ylabel("mel band")
for axis in axes[1]:
    axis.set_xlabel("time (s)")
figure.suptitle(rows["clip"].iloc[0])
plt.show()
