"""
Receptive fields of the cortical stages
=======================================

The stretch of sound and the range of frequencies that one unit of each stage depends on. Both grow
from the core to the temporal gyri; that is by construction, so it needs no training.
"""

import matplotlib.pyplot as plt

import neuromusic as nm

spec = nm.InputSpec(n_bands=128, n_frames=430, frame_s=512 / 22_050, n_classes=10)
network = nm.create_model("cortex-z", spec)

figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
for place, stage in enumerate(("A1", "belt", "PB", "T2T3")):
    bands, frames = network.geometry(stage).field
    width, height = frames * spec.frame_s, min(bands, spec.n_bands)
    left, lower = -width / 2, (spec.n_bands - height) / 2
    frame = plt.Rectangle((left, lower), width, height, fill=False, ec=f"C{place}", lw=2)
    axis.add_patch(frame)
    axis.text(left + 0.01, lower + 1, f"{stage}: {width:.2f} s", color=f"C{place}")
axis.set_xlim(-1.1, 1.1)
axis.set_ylim(-2, 130)
axis.set_xlabel("time before and after the frame (s)")
axis.set_ylabel("mel bands")
axis.set_title("One unit of each stage of cortex-z")
plt.show()
