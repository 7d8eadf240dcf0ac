"""The demo as a process."""

import json

import pytest
from helpers import neuromusic_anew


@pytest.mark.slow
def test_the_demo_runs_the_whole_pipeline_and_then_skips_it(tmp_path):
    result = neuromusic_anew("demo", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    network = tmp_path / "neuromusic-demo" / "run"
    scores = json.loads((network / "evaluation.json").read_text())
    assert scores["clip"]["n"] == 20
    assert scores["clip"]["accuracy"] > 0.5 > scores["random_weights"]["accuracy"]
    for name in ("confusion", "learning_curves", "variants", "timeline"):
        assert (network / "figures" / f"{name}.png").stat().st_size > 10_000
    assert "with your own experiment" in result.stdout
    again = neuromusic_anew("demo", cwd=tmp_path)
    assert again.returncode == 0
    # Clips, orders, lists, prepared set, network, scores, export.
    assert again.stdout.count("up to date") == 7
