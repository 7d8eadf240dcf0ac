"""
How good could any model be?
============================

A voxel is measured several times with the same sounds. What its repeats have in common is signal;
its share gives the noise ceiling, the highest correlation that any model can reach. Simulated
voxels with a known truth show that the estimate is right on average, and how much it scatters.
"""

import matplotlib.pyplot as plt
import numpy as np

from neuromusic.stats.reliability import clip_powers, explainable_variance, signed_reliability

rng = np.random.default_rng(0)
repeats, clips, volumes, voxels = 4, 60, 10, 300
truth = rng.uniform(0, 0.4, voxels)  # share of one presentation's variance that is signal
signal = rng.standard_normal((clips, volumes, voxels)) * np.sqrt(truth)
noise = rng.standard_normal((repeats, clips, volumes, voxels)) * np.sqrt(1 - truth)
measured = signal + noise
runs = np.repeat(np.arange(6), 10)  # ten clips in each of six runs
powers = clip_powers(measured, runs, drift_cycles=None)
found = explainable_variance(powers)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
errors = [found.share - found.low, found.high - found.share]
left.errorbar(truth, found.share, errors, fmt=".", ms=4, lw=0.4, color="C0")
left.plot([0, 0.4], [0, 0.4], color="black", lw=1)
left.axhline(0, color="grey", lw=0.5)
left.set_xlabel("true explainable variance")
left.set_ylabel("estimate, 95 % interval")
inside = np.mean((found.low <= truth) & (truth <= found.high))
left.set_title(f"{inside:.0%} of the intervals contain the truth")

ceiling = np.sqrt(np.clip(signed_reliability(powers), 0, None))
true_ceiling = np.sqrt(truth / (truth + (1 - truth) / repeats))
right.plot(true_ceiling, ceiling, ".", ms=4)
right.plot([0, 1], [0, 1], color="black", lw=1)
right.set_xlabel("true ceiling of r with the mean of four repeats")
right.set_ylabel("estimated ceiling")
right.set_title("0: an estimate that is not above 0")
plt.show()
