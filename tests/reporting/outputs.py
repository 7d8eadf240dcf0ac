"""Outputs of all commands that a page can show, made once for the tests of a worker."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import neuromusic as nm
from neuromusic.design.lists import write_lists


def make_outputs(network: nm.TrainedNetwork, root: Path) -> Path:
    """Return a directory with a network, a comparison, lists and an export."""
    run = Path(shutil.copytree(network.directory, root / "run"))
    shutil.copytree(network.prepared, root / "prepared")
    nm.evaluate(run)
    nm.compare([run], out=root / "compared")
    table = pd.read_csv(network.prepared / "presentations.tsv", sep="\t").assign(path=None)
    (root / "lists").mkdir()
    write_lists(root / "lists", dict(list(table.groupby("split"))))
    nm.export(run, root / "lists", out=root / "export")
    return root


HOSTILE = (
    "<script>window.hacked=1</script>", '"><img src=x onerror="window.hacked=1">', "a&amp;b' c",
    "\u97f3\u4e50 \u7248\u672c", "]]>--><!--", "{{ 7 * 7 }}",
)  # fmt: skip


def make_hostile(run: Path, n_clips: int = 60) -> pd.DataFrame:
    """Put predictions of clips and classes with hostile names in the place of a network's."""
    rng = np.random.default_rng(0)
    classes = list(HOSTILE)
    p = rng.dirichlet(np.ones(len(classes)), n_clips)
    truth = [classes[k % len(classes)] for k in range(n_clips)]
    table = pd.DataFrame(
        {
            "clip": [f"{HOSTILE[k % len(HOSTILE)]}{k}" for k in range(n_clips)],
            "genre": truth,
            "track": [f"track {k}" for k in range(n_clips)],
            "split": "test",
            "run": 1,
            "trial": np.arange(n_clips) + 1,
            "predicted": [classes[k] for k in p.argmax(1)],
            "probability": p.max(1),
        }
    ).join(pd.DataFrame(p, columns=classes))
    table.to_csv(run / "predictions.tsv", sep="\t", index=False, float_format="%.6f")
    return table


def chromium() -> str:
    """Return the path of the browser; skip the test if it or its driver is missing."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install '.[test]'")
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    pytest.skip("no chromium on the path; on Debian: apt-get install chromium")
