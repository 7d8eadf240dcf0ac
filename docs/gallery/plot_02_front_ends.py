"""
One clip in four front ends
===========================

A front end turns sound into what a network takes in. All have a frame every few hundredths of a
second; frame k is centred on k frame periods. ``prepare --front-end`` chooses one.
"""

import matplotlib.pyplot as plt
import numpy as np

from neuromusic.features.frontends.base import front_end, front_end_names
from neuromusic.stimuli.synthetic import make_clip

wave = make_clip("jazz", 0, seed=0).astype(np.float32)[: 5 * 22_050]  # five seconds

figure, axes = plt.subplots(4, 1, figsize=(8, 8), sharex=True, layout="constrained")
for axis, name in zip(axes, front_end_names(), strict=True):
    spec = front_end(name)
    features = spec.compute(wave)  # (channels x bands, frames)
    low, high = np.percentile(features, [5, 99.5])
    axis.imshow(
        features, origin="lower", aspect="auto", vmin=low, vmax=high, cmap="magma",
        extent=(0, features.shape[1] * spec.frame_s, 0, len(features)), interpolation="nearest",
    )  # fmt: skip
    axis.set_title(
        f"{name}: {spec.n_channels} channel{'s' * (spec.n_channels > 1)} of {spec.n_bands} bands, "
        f"a frame every {1000 * spec.frame_s:.1f} ms"
    )
    axis.set_ylabel("row")
axes[-1].set_xlabel("time (s)")
plt.show()
