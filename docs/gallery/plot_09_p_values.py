"""
Why p comes from shifts by whole clips
======================================

Predictions and voxels that have nothing to do with each other: p should be below .05 in 5 % of
cases. Volumes are not independent, since noise is autocorrelated and responses are slow, so a
correlation test over volumes finds far too much. Shifting the measurement by whole clips within
each run keeps that dependence, and finds 5 %.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.signal
import scipy.stats

from neuromusic.stats.shifts import shift_sums, shift_test

rng = np.random.default_rng(0)
n_runs, clips, volumes, voxels = 6, 10, 10, 2000


def slow(weight: float) -> np.ndarray:
    """Return autocorrelated series (runs, volumes of the run, voxels), mean 0 in each run."""
    white = rng.standard_normal((n_runs, clips * volumes, voxels))
    series = scipy.signal.lfilter([1], [1, -weight], white, axis=1)
    return series - series.mean(1, keepdims=True)


predicted, measured = slow(0.8), slow(0.6)
x, y = (each.reshape(-1, voxels) for each in (predicted, measured))
x, y = x - x.mean(0), y - y.mean(0)
r = (x * y).sum(0) / np.sqrt((x**2).sum(0) * (y**2).sum(0))
df = len(x) - 2
naive = scipy.stats.t.sf(r * np.sqrt(df / (1 - r**2)), df)

by_clip = (n_runs, clips, volumes, voxels)
runs = zip(predicted.reshape(by_clip), measured.reshape(by_clip), strict=True)
shifted = shift_test([shift_sums(*run) for run in runs]).p

figure, axis = plt.subplots(figsize=(6, 4.5), layout="constrained")
for name, p in {"correlation over volumes": naive, "shifts by whole clips": shifted}.items():
    share = np.mean(p < 0.05)
    axis.plot(np.sort(p), np.linspace(0, 1, voxels), label=f"{name}: {share:.1%} below .05")
axis.plot([0, 1], [0, 1], color="grey", ls="--", lw=1, label="what a p value should do")
axis.set_xlabel("p")
axis.set_ylabel("share of voxels without a response with at most this p")
axis.legend(loc="lower right")
plt.show()
