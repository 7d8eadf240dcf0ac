"""
A score, its interval, and chance
=================================

The network of the demo on its 20 test clips, beside the same network with random weights. The
intervals are over clips; with 20 clips they are wide.
"""

import json

import matplotlib.pyplot as plt
import pandas as pd
from gallery_demo import make_demo

DEMO = make_demo()
scores = json.loads((DEMO / "run" / "evaluation.json").read_text())
table = pd.read_csv(DEMO / "run" / "predictions.tsv", sep="\t")

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4.5), width_ratios=(1, 2), layout="constrained"
)
for place, each in enumerate((scores["clip"], scores["random_weights"])):
    low, high = each["accuracy_ci95"]
    left.plot([place, place], [low, high], color="C0", lw=3)
    left.plot(place, each["accuracy"], "o", color="C0", ms=9)
    left.text(place + 0.08, each["accuracy"], f"{each['accuracy']:.2f}", va="center")
left.axhline(0.1, color="grey", ls="--")
left.text(0.5, 0.11, "chance", ha="center", color="grey")
left.set_xticks([0, 1], ["trained", "random\nweights"])
left.set_xlim(-0.5, 1.5)
left.set_ylim(0, 1.05)
left.set_ylabel("accuracy, 95 % interval over clips")

counts = pd.crosstab(table["genre"], table["predicted"])
counts = counts.reindex(columns=counts.index, fill_value=0)
right.imshow(counts, cmap="Blues")
right.set_xticks(range(len(counts)), counts.columns, rotation=45, ha="right")
right.set_yticks(range(len(counts)), counts.index)
right.set_xlabel("predicted")
right.set_ylabel("genre of the clip")
plt.show()
