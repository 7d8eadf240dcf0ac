"""What a notebook shows of a trained network."""

import html

from neuromusic.core.figures import percent
from neuromusic.core.records import read_plain_json
from neuromusic.training.trained import SCORES, TrainedNetwork


def network_html(network: TrainedNetwork) -> str:
    """Return a table with the kind of network, its size, classes, stages and accuracy."""
    rows = {
        "network": network.name,
        "directory": str(network.directory),
        "parameters": f"{sum(p.numel() for p in network.network.parameters()):,}",
        "classes": ", ".join(network.classes),
        "stages": ", ".join(stage.name for stage in network.network.stages),
        "accuracy": _score_text(network),
    }
    cells = (
        f"<tr><th style='text-align: left'>{name}</th><td>{html.escape(text)}</td></tr>"
        for name, text in rows.items()
    )
    return f"<table>{''.join(cells)}</table>"


def _score_text(network: TrainedNetwork) -> str:
    clip = (read_plain_json(network.directory / SCORES[0]) or {}).get("clip")
    if clip is None:
        return "not evaluated"
    low, high = map(percent, clip["accuracy_ci95"])
    return f"{percent(clip['accuracy'])} ({low} to {high}), {clip['n']} clips"
