"""Parts about trained networks and cross-validations."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.figures import percent
from neuromusic.core.files import read_json
from neuromusic.core.records import places_of, read_plain_json, read_record, record_hash
from neuromusic.core.tables import read_table
from neuromusic.design.lists import LIST_FILES, read_lists
from neuromusic.evaluation import plots, training_plots
from neuromusic.evaluation.clean import read_predictions
from neuromusic.evaluation.metrics import confusion_matrix, reliability
from neuromusic.evaluation.reports import calibration_line
from neuromusic.features.prepared import PreparedSet, clip_with_all_variants, open_prepared
from neuromusic.reporting import methods
from neuromusic.reporting.blocks import (
    Block,
    Confusions,
    Drawing,
    Paragraph,
    Part,
    Section,
    Sounds,
    Table,
)
from neuromusic.reporting.design import bars_of_lists, bars_of_runs
from neuromusic.reporting.figures import draw_scores
from neuromusic.reporting.numbers import accuracy, count
from neuromusic.reporting.origin import Origin, origin
from neuromusic.stimuli.variants import VARIANTS
from neuromusic.training.config import Data
from neuromusic.training.selection import select
from neuromusic.training.trained import (
    LAST,
    METRICS,
    SCORES,
    SECONDS,
    WEIGHTS,
)
from neuromusic.training.watching import stored_settings

REMEDY = "evaluate it again"
AFTER_CLASSES = ("artist", "shares", "fold")  # columns of predictions.tsv


def network_part(directory: Path, record: Mapping[str, Any] | None, hear: bool = False) -> Part:
    """Return the part of a trained network; of an unfinished one, ``record`` is None.

    ``hear``: add the variants of a clip as sounds.
    """
    files = _Files(directory, record)
    notices = []
    if record is None:
        notices.append("The training is not finished: this is what there is so far.")
    elif not files.scores:
        notices.append(f"It was not evaluated: type 'neuromusic evaluate {directory}'.")
    sections = [Section("What was done", files.what_was_done)] if record else []
    if files.scores:
        sections += files.score_sections()
    if (directory / METRICS).is_file():
        sections.append(Section("How the training went", files.learning_curves))
    if files.prepared is not None:
        sections.append(Section("What the network was trained on", lambda: files.inputs(hear)))
    sections.append(Section("Where it comes from", files.where_from))
    name = files.settings.get("model", {}).get("name", "network")
    return Part(f"Trained network: {name}", directory, sections, notices)


def crossval_part(directory: Path, record: Mapping[str, Any]) -> Part:
    """Return the part of a cross-validation."""
    files = _Files(directory, record)
    sections = [Section("What was done", files.what_was_done), *files.score_sections()]
    first = sorted(directory.glob("fold-*"))
    if first:
        folds = [_Files(path, read_plain_json(path / "provenance.json")) for path in first]
        for number, fold in enumerate(folds, 1):
            if (fold.directory / METRICS).is_file():
                title = f"Fold {number}: how the training went"
                sections.append(Section(title, fold.learning_curves))
    sections.append(Section("Where it comes from", files.where_from))
    return Part(f"Cross-validation: {files.scores['model']}", directory, sections)


class _Files:
    """The files of a network or cross-validation, read once."""

    def __init__(self, directory: Path, record: Mapping[str, Any] | None) -> None:
        self.directory, self.record = directory, record
        self.settings: Mapping[str, Any] = (record or {}).get("settings") or {}
        if not self.settings:
            self.settings = stored_settings(directory)
        has_scores = all((directory / name).is_file() for name in SCORES)
        self.scores: dict[str, Any] = read_json(directory / SCORES[0], REMEDY) if has_scores else {}
        self.prepared = _prepared_of(directory, record)
        self._table: pd.DataFrame | None = None

    @property
    def predictions(self) -> pd.DataFrame:
        """The table of predictions."""
        if self._table is None:
            self._table = read_table(
                self.directory / SCORES[1], remedy=REMEDY, na_values="n/a", keep_default_na=False,
                dtype=dict.fromkeys(("clip", "genre", "track", "predicted"), str),
            )  # fmt: skip
        return self._table

    @property
    def classes(self) -> list[str]:
        """Names of the classes: the columns of probabilities, in the order of the outputs."""
        columns = list(self.predictions.columns)
        names = columns[columns.index("probability") + 1 :]
        while names[-1] in AFTER_CLASSES:
            names.pop()
        return names

    # --- Sections -------------------------------------------------------------------------------

    def what_was_done(self) -> list[Block]:
        """Return the paragraph for a methods section."""
        assert self.record is not None
        record = {**self.record, "settings": self.settings}
        if self.record.get("command") == "ensemble":
            return [Paragraph("An ensemble: the mean of the probabilities of its members."),
                    Table("members", "Members", _members(self.directory))]  # fmt: skip
        return [methods.training(record, self.scores, self._data())]

    def score_sections(self) -> list[Section]:
        """Return how good it is, what it confuses, how well it is calibrated, and all answers."""
        return [
            Section("How good it is", self.how_good),
            Section("What it confuses", self.confusions),
            Section("Whether its probabilities can be trusted", self.calibration),
            Section("Every clip", self.answers),
        ]

    def how_good(self) -> list[Block]:
        """Return the scores beside chance, random weights and the artist-clean part."""
        scores, table = self.scores, score_table(self.scores)
        over = scores["clip"].get("interval_over", "clips")
        drawing = Drawing(
            "accuracy",
            f"Accuracy with 95 % intervals over {over}; the line is chance.",
            "; ".join(f"{row.score} {percent(row.accuracy)}" for row in table.itertuples()),
            lambda style: draw_scores(table, scores["chance"], style),
            table,
        )
        lead = f"The network is right for {accuracy(scores['clip'])}. Chance is "
        lead += f"{percent(scores['chance'])}."
        if scores["clip"]["accuracy_ci95"][0] <= scores["chance"]:
            lead += " The interval includes chance."
        genres = pd.DataFrame(
            [
                {"class": name, "n": each["n"], "accuracy": each["accuracy"], "F1": each["f1"]}
                for name, each in scores["per_genre"].items()
            ]
        ) if "per_genre" in scores else pd.DataFrame()  # fmt: skip
        blocks: list[Block] = [Paragraph(lead), drawing]
        if len(genres):
            blocks.append(Table("classes", "Each class", genres))
        if "folds" in scores:
            folds = enumerate(scores["folds"], 1)
            table_of_folds = pd.DataFrame([{"fold": n, "accuracy": each} for n, each in folds])
            blocks.append(Table("folds", "Each fold", table_of_folds))
        return blocks

    def confusions(self) -> list[Block]:
        """Return the confusion matrix with the clips of each cell."""
        classes, table = self.classes, self.predictions
        place = {name: number for number, name in enumerate(classes)}
        truth = table["genre"].map(place).to_numpy(np.int64)
        guess = table["predicted"].map(place).to_numpy(np.int64)
        clips: dict[tuple[int, int], list[str]] = {}
        for i, j, clip in zip(truth.tolist(), guess.tolist(), table["clip"], strict=True):
            clips.setdefault((i, j), []).append(clip)
        counts = confusion_matrix(truth, guess, len(classes))
        return [Confusions(classes, counts, clips), *self._matrix(classes, counts)]

    def _matrix(self, classes: list[str], counts: np.ndarray) -> list[Block]:
        title = f"{percent(self.scores['clip']['accuracy'])} of {int(counts.sum())} clips correct"
        data = pd.DataFrame(counts, columns=classes)
        data.insert(0, "true", classes)
        return [Drawing(
            "confusion", "Confusion matrix.", f"Confusion matrix: {title}",
            lambda style: plots.confusion(counts, classes, title, style), data, is_on_page=False,
        )]  # fmt: skip

    def calibration(self) -> list[Block]:
        """Return the reliability diagram."""
        bins = reliability(*read_predictions(self.predictions, self.classes))
        calibration = self.scores["calibration"]
        text = calibration_line(calibration)
        title = f"{len(self.predictions)} clips"
        return [Paragraph(f"{text[0].upper()}{text[1:]}."), Drawing(
            "calibration", "Accuracy against confidence; grey: calibrated networks.",
            f"Reliability diagram: {text}",
            lambda style: plots.reliability(bins, calibration, title, style), bins,
        )]  # fmt: skip

    def answers(self) -> list[Block]:
        """Return the prediction for each clip, wrong ones first."""
        table = self.predictions
        columns = ["clip", "genre", "predicted", "probability", "run", "trial", "artist", "shares",
                   "fold"]  # fmt: skip
        shown = table[[name for name in columns if name in table and table[name].notna().any()]]
        wrong = (table["genre"] != table["predicted"]).to_numpy()
        order = np.lexsort([-table["probability"].to_numpy(), ~wrong])
        caption = f"All clips, wrong answers first ({wrong.sum()} of {len(table)})"
        return [Table("clips", caption, shown.iloc[order])]

    def learning_curves(self) -> list[Block]:
        """Return loss and accuracy over the epochs, and the time that they took."""
        metrics = pd.read_csv(self.directory / METRICS)
        last = metrics.iloc[-1]
        words = {"train_loss": "training loss", "valid_loss": "validation loss"}
        ends = [f"{word} {last[key]:.3f}" for key, word in words.items() if key in metrics]
        blocks: list[Block] = [Drawing(
            "learning_curves", "Loss and accuracy over the epochs.",
            f"{count(len(metrics), 'epoch')}; at the end: {', '.join(ends)}",
            lambda style: training_plots.learning_curves(
                metrics, self.settings.get("model", {}).get("name", "network"), style),
            metrics,
        )]  # fmt: skip
        if (self.directory / SECONDS).is_file():
            seconds = pd.read_csv(self.directory / SECONDS)["seconds"]
            each, total = seconds.median(), seconds.sum()
            text = f"{len(seconds)} epochs of {each:.3g} s (median), {total / 60:.1f} min in total."
            blocks.append(Paragraph(text))
        return blocks

    def inputs(self, hear: bool) -> list[Block]:
        """Return the variants of a clip and the runs of the experiment."""
        data = self.prepared
        assert data is not None
        blocks: list[Block] = []
        rows = clip_with_all_variants(data)
        if rows is not None and data.meta.front_end_name == "logmel":
            blocks.append(_variants(data, rows))
            if hear:
                blocks.append(_sounds(data, rows))
        if data.presentations is not None:
            blocks += _runs(data, data.presentations)
        return blocks or [Paragraph("The prepared set has neither variants nor scanner runs.")]

    def where_from(self) -> Sequence[Block]:
        """Return settings, versions, hashes and hardware."""
        weights = self.directory / WEIGHTS
        return origin(Origin(self.directory, self.record, self.settings, [weights]))

    def _data(self) -> dict[str, Any]:
        """Return what is known of the training set; see `methods.training`."""
        known: dict[str, Any] = {}
        if self.scores:
            known["classes"] = self.classes
        if self.prepared is not None:
            data = self.prepared
            known |= {
                "classes": data.classes,
                "front_end": data.meta.front_end_name,
                "n_bands": data.meta.n_bands * data.meta.n_channels,
                "frame_s": data.frame_s,
                **self._trained_on(data),
            }
        for path in (self.directory / METRICS, self.directory / "fold-1" / METRICS):
            if path.is_file():
                known["has_validation"] = "valid_loss" in pd.read_csv(path, nrows=0)
        return known

    def _trained_on(self, data: PreparedSet) -> dict[str, int]:
        """Return how many clips a network was trained on, and in how many variants.

        The folds of a cross-validation are trained on different clips. Nothing is returned if the
        settings are those of another version.
        """
        if "folds" in self.scores:
            return {}
        try:
            rows = data.rows.iloc[select(data, Data.model_validate(self.settings["data"])).train]
        except (KeyError, ValueError):
            return {}
        return {"n_train": rows["clip"].nunique(), "n_variants": rows["variant"].nunique()}


def score_table(scores: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per kind of score: accuracy, its interval, cross-entropy, F1 and n."""
    kinds = {
        "clips": scores["clip"],
        "clips of new artists": scores.get("clean", {}),
        "windows": scores.get("window", {}),
        "random weights": scores["random_weights"],
    }
    return pd.DataFrame(
        [
            {
                "score": name,
                "accuracy": each["accuracy"],
                "accuracy_low": each["accuracy_ci95"][0],
                "accuracy_high": each["accuracy_ci95"][1],
                "cross_entropy": each["cross_entropy"],
                "macro_f1": each["macro_f1"],
                "n": each["n"],
            }
            for name, each in kinds.items()
            if each.get("n") and "accuracy_ci95" in each
        ]
    )


def is_unfinished_training(directory: Path) -> bool:
    """Return whether a directory holds a training that was stopped or is going on."""
    return any((directory / name).is_file() for name in (LAST, METRICS))


def _members(directory: Path) -> pd.DataFrame:
    content = read_json(directory / "ensemble.json", "make the ensemble again")
    columns = ("name", "network", "seed", "window_s", "hop_s")
    return pd.DataFrame([{key: each.get(key) for key in columns} for each in content["members"]])


def _prepared_of(directory: Path, record: Mapping[str, Any] | None) -> PreparedSet | None:
    """Return the set that a network was trained on, if it is still there and unchanged."""
    place = (record or {}).get("places", {}).get("prepared")
    if place is None or record is None:
        return None
    for path in places_of(Path(place), directory):
        if path.is_dir() and record_hash(path) == record["inputs"].get("prepared"):
            return open_prepared(path)
    return None


# --- Variants -------------------------------------------------------------------------------------


def _variants(data: PreparedSet, rows: pd.DataFrame) -> Drawing:
    mels = [data.row_features(int(row)) for row in rows["row"]]
    texts = [training_plots.brief(text) for text in rows["parameters"]]
    clip = rows["clip"].iat[0]
    named = zip(rows["name"], texts, strict=True)
    return Drawing(
        "variants", f"The variants of {clip} as the network gets them.",
        f"Log-mel spectrograms of {clip}: " + "; ".join(f"{a}: {b}" for a, b in named),
        lambda style: training_plots.variants(mels, data.frame_s, texts, clip, style),
        rows[["clip", "variant", "name", "parameters"]],
    )  # fmt: skip


def _sounds(data: PreparedSet, rows: pd.DataFrame) -> Block:
    """Return the variants of a clip as sounds, computed again from its file."""
    from neuromusic.features.worker import variant_waves
    from neuromusic.reporting.sounds_to_hear import as_ogg
    from neuromusic.stimuli import audio

    clip, lists = rows["clip"].iat[0], _lists_of(data)
    if lists is None:
        return Paragraph("The set was prepared without sounds, so there is none to hear.")
    if lists.is_dir():
        table = read_lists(lists)
        paths = table.loc[(table["clip"] == clip) & table["path"].notna(), "path"]
        if len(paths):
            wave = audio.read(lists / paths.iat[0], channel=data.meta.channel)
            seed = (read_record(data.directory) or {})["settings"]["seed"]
            waves = variant_waves(wave, clip, len(VARIANTS), seed)
            return Sounds([
                (f"{number} {name}", training_plots.brief(json.dumps(drawn)), as_ogg(sound.numpy()))
                for number, (name, (sound, drawn)) in enumerate(zip(VARIANTS, waves, strict=True))
            ])  # fmt: skip
    return Paragraph(f"The sound of {clip} is no longer in {lists}, so it cannot be heard here.")


def _lists_of(data: PreparedSet) -> Path | None:
    """Return the lists of a prepared set: where they are, or were. None if it had none."""
    place = (read_record(data.directory) or {}).get("places", {}).get("lists")
    if place is None:
        return None
    found = (path for path in places_of(Path(place), data.directory) if _has_lists(path))
    return next(found, Path(place))


def _has_lists(path: Path) -> bool:
    return any((path / name).is_file() for name in LIST_FILES.values())


def _runs(data: PreparedSet, presentations: pd.DataFrame) -> list[Block]:
    """Return the figure of all runs; only lists describe an experiment other than ds003720."""
    lists = _lists_of(data)
    if lists is None:
        return bars_of_runs(presentations, data.directory)
    if not _has_lists(lists):
        return [Paragraph(f"The lists are no longer in {lists}, so the runs cannot be drawn.")]
    return bars_of_lists(lists)
