"""Scores as short texts: of a network, of a cross-validation, of clean clips."""

from typing import Any

TABLE_HEAD = f"{'':16}{'accuracy':>9}  {'95 % interval':<15}"


def score_report(scores: dict[str, Any]) -> str:
    """Return the scores of a network as a short table."""
    lines = [f"{TABLE_HEAD}{'cross-entropy':>14}{'Brier':>8}{'macro F1':>10}{'n':>7}"]
    for key in ("clip", "window", "random_weights"):
        s = scores[key]
        lines.append(
            f"{key.replace('_', ' '):16}{s['accuracy']:>9.3f}  {_interval(s):<15}"
            f"{s['cross_entropy']:>14.3f}{s['brier']:>8.3f}{s['macro_f1']:>10.3f}{s['n']:>7}"
        )
    lines.append(f"{'chance':16}{scores['chance']:>9.3f}")
    lines.append(f"intervals over {scores['clip']['interval_over']}")
    lines.append(calibration_line(scores["calibration"]))
    genres = (f"{g} {s['accuracy']:.2f} of {s['n']}" for g, s in scores["per_genre"].items())
    lines.append("per genre: " + ", ".join(genres))
    return "\n".join(lines)


def calibration_line(calibration: dict[str, Any]) -> str:
    """Return the output of `metrics.calibration` in one line."""
    if calibration["error"] <= calibration["error_if_calibrated_95"]:
        verdict = "no sign of miscalibration"
    elif calibration["mean_confidence"] > calibration["accuracy"]:
        verdict = "overconfident"
    else:
        verdict = "underconfident"
    return (
        f"calibration error {calibration['error']:.3f}; a calibrated network would have "
        f"{calibration['error_if_calibrated']:.3f} (95 % of them up to "
        f"{calibration['error_if_calibrated_95']:.3f}): {verdict} "
        f"(mean confidence {calibration['mean_confidence']:.3f})"
    )


def clean_report(clean: dict[str, Any]) -> str:
    """Return the output of `clean.score_clean` as a short table."""
    lines = []
    if "trained" in clean:
        trained, valid = clean["trained"], clean["validation"]
        lines.append(
            f"trained and validated on {trained['n']} clips of {trained['n_artists']} artists"
        )
        if valid["n"]:
            lines.append(
                f"{valid['shared']} of {valid['n']} validation clips share an artist with a "
                "training clip"
            )
    lines.append(f"{TABLE_HEAD}{'n':>7}{'artists':>9}")
    parts = {"whole": clean["whole"], "clean": clean, "artist shared": clean["shared"]}
    for name, s in parts.items():
        accuracy, interval = (f"{s['accuracy']:.3f}", _interval(s)) if s["n"] else ("-", "-")
        lines.append(f"{name:16}{accuracy:>9}  {interval:<15}{s['n']:>7}{s['n_artists']:>9}")
    return "\n".join(lines)


def crossval_report(scores: dict[str, Any]) -> str:
    """Return the pooled scores of a cross-validation in a few lines."""
    s = scores["clip"]
    folds = ", ".join(f"{accuracy:.3f}" for accuracy in scores["folds"])
    lines = [
        f"{scores['model']}: accuracy {s['accuracy']:.3f} ({_interval(s)} over "
        f"{s['interval_over']}), {s['n']} clips; folds {folds}; random weights "
        f"{scores['random_weights']['accuracy']:.3f}, chance {scores['chance']:.3f}",
        calibration_line(scores["calibration"]),
    ]
    if "clean" in scores:
        clean = scores["clean"]
        lines.append("clips whose artist is in the training of their fold (shared) or not (clean):")
        lines.append(clean_report(clean))
        parts = (
            f"{fold['n_clean']} of {fold['n']}"
            + (f" ({fold['accuracy_clean']:.3f})" if fold["n_clean"] else "")
            for fold in clean["folds"]
        )
        lines.append(f"clean clips of each fold (accuracy): {', '.join(parts)}")
    return "\n".join(lines)


def _interval(scores: dict[str, Any]) -> str:
    low, high = scores["accuracy_ci95"]
    return f"{low:.3f} to {high:.3f}"
