"""Numbers as the text of a page writes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromusic.core.figures import percent


def accuracy(scores: Mapping[str, Any], n: str = "clips") -> str:
    """Return a score with its interval and n: "76.7 % (70.1 to 82.3 %), 60 clips"."""
    low, high = scores["accuracy_ci95"]
    number = percent(low).removesuffix(" %")
    return f"{percent(scores['accuracy'])} ({number} to {percent(high)}), {scores['n']} {n}"


def value(x: float, digits: int = 2) -> str:
    """Return a number with a real minus sign; "n/a" for NaN."""
    return "n/a" if np.isnan(x) else f"{x:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def with_interval(row: Mapping[str, Any], column: str = "r", digits: int = 2) -> str:
    """Return a value of a table with its interval, from its columns _low and _high."""
    low, high = (value(float(row[f"{column}_{side}"]), digits) for side in ("low", "high"))
    return f"{value(float(row[column]), digits)} ({low} to {high})"


def p_value(p: float) -> str:
    """Return "p = .012", or "p < .001"."""
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")


def count(n: int, singular: str, plural: str = "") -> str:
    """Return "1 clip" or "12 clips"."""
    return f"{n:,} {singular if n == 1 else plural or f'{singular}s'}".replace(",", "\N{NBSP}")


def joined(names: Sequence[object]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    texts = [str(name) for name in names]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
