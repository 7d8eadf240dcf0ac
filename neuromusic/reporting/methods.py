"""Paragraphs for the methods section of a paper, with their references."""

from collections.abc import Mapping
from typing import Any

from neuromusic.core.figures import percent
from neuromusic.reporting.blocks import Methods
from neuromusic.reporting.numbers import accuracy, count, joined

GUO = (
    "Guo C, Pleiss G, Sun Y, Weinberger KQ (2017). On calibration of modern neural networks. ICML."
)
WILSON = (
    "Wilson EB (1927). Probable inference, the law of succession, and statistical inference. "
    "Journal of the American Statistical Association 22, 209-212."
)
MCNEMAR = (
    "McNemar Q (1947). Note on the sampling error of the difference between correlated "
    "proportions or percentages. Psychometrika 12, 153-157."
)
HOLM = (
    "Holm S (1979). A simple sequentially rejective multiple test procedure. Scandinavian "
    "Journal of Statistics 6, 65-70."
)
DE_HEER = (
    "de Heer WA, Huth AG, Griffiths TL, Gallant JL, Theunissen FE (2017). The hierarchical "
    "cortical organization of human speech processing. Journal of Neuroscience 37, 6539-6557."
)
NADEAU = (
    "Nadeau C, Bengio Y (2003). Inference for the generalization error. Machine Learning 52, "
    "239-281."
)
TUCKUTE = (
    "Tuckute G, Feather J, Boebinger D, McDermott JH (2023). Many but not all deep neural network "
    "audio models capture brain responses and exhibit correspondence between model stages and "
    "brain regions. PLoS Biology 21, e3002366."
)
MIXUP = (
    "Zhang H, Cisse M, Dauphin YN, Lopez-Paz D (2018). mixup: beyond empirical risk "
    "minimization. ICLR."
)
SPECAUGMENT = (
    "Park DS et al. (2019). SpecAugment: a simple data augmentation method for automatic speech "
    "recognition. Interspeech."
)
ADAMW = "Loshchilov I, Hutter F (2019). Decoupled weight decay regularization. ICLR."
OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "stochastic gradient descent"}


def software(record: Mapping[str, Any]) -> str:
    """Return name and version of the software that a record names."""
    packages = record.get("packages", {})
    torch = f" and PyTorch {packages['torch']}" if "torch" in packages else ""
    return f"neuromusic {record.get('code_version', 'of unknown version')}{torch}"


def training(
    record: Mapping[str, Any], scores: Mapping[str, Any], data: Mapping[str, Any]
) -> Methods:
    """Return how a network was trained and scored.

    Parameters
    ----------
    record : mapping
        The record of the training or of the cross-validation.
    scores : mapping
        The content of evaluation.json; empty if there is none.
    data : mapping
        What is known of the training set: front_end, n_bands, frame_s, classes, n_train (clips),
        n_variants, has_validation.
    """
    settings = record["settings"]
    model, train, windows = settings["model"], settings["train"], settings["data"]
    n_parameters = scores.get("parameters")
    size = f" ({n_parameters:,} parameters)".replace(",", "\N{NBSP}") if n_parameters else ""
    text = [f"The network {model['name']}{size} was trained with {software(record)}"]
    text[0] += f" to classify {len(data['classes'])} classes." if "classes" in data else "."
    text += [_input_text(data, windows), _optimisation_text(settings, data.get("has_validation"))]
    references = [ADAMW] if train["optimizer"] == "adamw" else []
    augmented, sources = _augmentation_text(settings.get("augment", {}))
    text.append(augmented)
    references += sources
    if scores:
        text.append(_scoring_text(record, scores, windows))
        references += [WILSON, GUO]
    return Methods(" ".join(filter(None, text)), references)


FRONT_ENDS = {
    "logmel": "the log-mel spectrogram ({n} bands",
    "cochleagram": "the cochleagram ({n} bands",
    "modulation": "the spectro-temporal modulation ({n} values",
    "scattering": "the scattering transform ({n} values",
    "stages": "the stages of another network ({n} units",
}


def _input_text(data: Mapping[str, Any], windows: Mapping[str, Any]) -> str:
    text = f"The network was given windows of {windows['window_s']:g} s"
    if data.get("front_end") in FRONT_ENDS:
        what = FRONT_ENDS[data["front_end"]].format(n=data["n_bands"])
        text += f" of {what}, one frame every {1000 * data['frame_s']:.0f} ms)"
    if "n_train" in data:
        text += f" of {count(data['n_train'], 'training clip')}"
        if data.get("n_variants", 1) > 1:
            text += f", each in {data['n_variants']} variants (the clip itself and changed copies)"
    return f"{text}."


def _optimisation_text(settings: Mapping[str, Any], has_validation: bool | None) -> str:
    train, windows = settings["train"], settings["data"]
    runs = windows.get("validation_runs")
    n_held = runs if isinstance(runs, int) else len(runs or [])
    of_runs = f" of {count(n_held, 'held-out run')}" if n_held else ""
    kept = {
        True: f"The epoch with the lowest cross-entropy of the validation clips{of_runs} was kept.",
        False: "No clips were held out for validation; the last epoch was kept.",
        None: "",
    }[has_validation]
    decay = f", weight decay {train['weight_decay']:g}" if train.get("weight_decay") else ""
    smoothing = train.get("label_smoothing")
    smooth = f", label smoothing {smoothing:g}" if smoothing else ""
    return (
        f"Training took {count(train['epochs'], 'epoch')} in batches of {train['batch_size']} "
        f"windows with {OPTIMIZERS.get(train['optimizer'], train['optimizer'])} (learning rate "
        f"{train['lr']:g}{decay}{smooth}; seed {train['seed']}). {kept}"
    )


def _augmentation_text(augment: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return what was changed in each training window, and the sources of the methods."""
    words, sources = [], []
    if augment.get("mixup"):
        words.append(f"mixed with others (mixup, alpha {augment['mixup']:g})")
        sources.append(MIXUP)
    if augment.get("time_masks") or augment.get("mel_masks"):
        words.append("masked in time and frequency")
        sources.append(SPECAUGMENT)
    changed = {
        "gain_db": "level", "tilt_db": "spectral tilt", "mel_shift": "pitch", "time_scale": "tempo"
    }  # fmt: skip
    names = [name for key, name in changed.items() if augment.get(key)]
    if names:
        words.append(f"changed in {joined(names)}")
    return f"Training windows were {joined(words)}." if words else "", sources


def _scoring_text(
    record: Mapping[str, Any], scores: Mapping[str, Any], windows: Mapping[str, Any]
) -> str:
    clip = scores["clip"]
    over = clip.get("interval_over", "clips")
    how = (
        f"The score of a clip is the mean log-probability of its windows, "
        f"{windows['hop_s']:g} s apart. "
    )
    if record.get("command") == "crossval":
        group = record["settings"].get("group", "run")
        how += (
            f"In {len(scores['folds'])} folds, each clip was scored once, by a network that was "
            f"trained without any clip of its {group}. "
        )
    text = (
        f"{how}Accuracy was {accuracy(clip)} (95 % interval over {over}: Wilson's, with an "
        f"effective number of {over}); with random weights it was "
        f"{percent(scores['random_weights']['accuracy'])}, and chance is "
        f"{percent(scores['chance'])}."
    )
    clean = scores.get("clean", {})
    if clean.get("n"):
        text += (
            f" For the {clean['n']} clips whose artist the network was not trained on it was "
            f"{accuracy(clean)}."
        )
    calibration = scores["calibration"]
    return text + (
        f" The expected calibration error was {calibration['error']:.3f} (a calibrated network "
        f"would have {calibration['error_if_calibrated']:.3f}, in 95 % of cases at most "
        f"{calibration['error_if_calibrated_95']:.3f})."
    )


def comparing(over: str, n_settings: int, n_pairs: int, version: str) -> Methods:
    """Return how networks were compared; intervals are ``over`` clips or artists."""
    text = (
        f"{count(n_settings, 'network')} were compared ({version}). Intervals are at 95 %, over "
        f"{over}."
    )
    if not n_pairs:
        return Methods(text, [WILSON])
    text += (
        " Differences between two networks that were scored on the same clips were tested with the "
        f"exact, two-sided McNemar test, corrected for {count(n_pairs, 'pair')} (Holm)."
    )
    return Methods(text, [WILSON, MCNEMAR, HOLM])


FITTED = {
    "": "Ridge regression was fitted to the training runs; the penalty of each voxel was chosen by "
    "leaving training runs out. In the test runs, the repeats of a clip were averaged.",
    "runs": "Ridge regression was fitted in folds that each leave out one run, whose responses "
    "were then predicted; the penalty of each voxel was chosen within the other runs.",
    "sounds": "Ridge regression was fitted in folds that each leave out some of the sounds, the "
    "responses to which were then predicted; the penalty of each voxel was chosen within the "
    "other sounds.",
    "groups": "Ridge regression was fitted in folds that each leave out all sounds of some groups, "
    "the responses to which were then predicted; the penalty of each voxel was chosen within the "
    "other sounds.",
    "unknown": "Ridge regression was scored on data that it was not fitted to; the records of the "
    "subjects say what was left out.",
}


def encoding(record: Mapping[str, Any], summary: Mapping[str, Any], left_out: str) -> Methods:
    """Return how responses in images were predicted; ``summary`` is encoding.json.

    ``left_out`` is what each fold leaves out, a key of FITTED; empty if test runs are a task.
    """
    options = record["settings"].get("options", {})
    n_components = options.get("components", summary.get("Components", "some"))
    delays = summary["DelaysInVolumes"]
    high_pass_hz = summary.get("HighPassHz") or 0
    text = [
        f"Voxelwise encoding models (neuromusic {record.get('code_version')}) predicted responses "
        f"from the stages {joined(summary['Stages'])} of the network {summary['Model']}.",
        "Each stage's activations were averaged over the frames of each volume, standardised, and "
        f"reduced to {n_components} principal components fitted to the training clips, and "
        f"delayed by {delays[0]} to {delays[-1]} volumes.",
        "Dummy volumes were dropped, a linear trend"
        + (f" and fluctuations slower than {high_pass_hz:.4f} Hz" if high_pass_hz else "")
        + " removed from voxels and components, and each run scaled to unit variance.",
        FITTED[left_out],
        f"Tests of areas: {_plain(summary['AreaTests'])}." if "AreaTests" in summary else "",
    ]
    references = [HOLM]
    if "UniqueVariance" in summary:
        text.append(f"Variance partitioning: {_plain(summary['UniqueVariance'])}.")
        references.append(DE_HEER)
    seeds = summary.get("ControlSeeds")
    if seeds:
        text.append(
            f"The same was done with {count(seeds, 'copy', 'copies')} of the network with random "
            "and with permuted weights."
        )
    return Methods(" ".join(filter(None, text)), references)


def _plain(tests: str) -> str:
    """Return a description of tests without the names of columns."""
    return tests.replace("p: ", "").replace("; p_holm: Holm over", ", corrected (Holm) over")


def sounds(record: Mapping[str, Any], summary: Mapping[str, Any]) -> Methods:
    """Return how responses to single sounds were predicted; ``summary`` is encoding.json."""
    median = summary["protocol"] == "tuckute2023"
    text = (
        f"Responses to {summary['sounds']} sounds were predicted from the stages "
        f"{joined(summary['stages'])} of the network {summary['model']} by ridge regression "
        f"(neuromusic {record.get('code_version')}), fitted to one random half of the sounds and "
        f"scored on the other half, {count(summary['splits'], 'time')}. Scores are squared "
        f"correlations, their {'median' if median else 'mean'} over the splits; differences from "
        "the acoustic baseline were tested with the corrected resampled t test (two-sided, Holm)."
    )
    references = [NADEAU, HOLM]
    if median:
        text += " The protocol is that of Tuckute et al. (2023)."
        references.append(TUCKUTE)
    return Methods(text, references)


def timed(record: Mapping[str, Any], summary: Mapping[str, Any]) -> Methods:
    """Return how responses in time were predicted; ``summary`` is encoding.json."""
    lags_s = summary["lags_s"]
    text = (
        f"Responses in time to {len(summary['sounds'])} sounds, sampled at "
        f"{summary['rate_hz']:g} Hz, were predicted from the stages of the network "
        f"{summary['model']} by ridge regression on {summary['components']} principal components "
        f"of each stage at lags of {lags_s[0]:g} to {lags_s[-1]:g} s (neuromusic "
        f"{record.get('code_version')}). Whole sounds were held out in "
        f"{len(summary['folds'])} folds. P values: {summary['p']}; corrected over targets and "
        "stages (Holm)."
    )
    return Methods(text, [HOLM])


def benchmark(record: Mapping[str, Any]) -> Methods:
    """Return how networks were compared by how well they predict responses to sounds."""
    settings = record["settings"]
    text = (
        "Networks were compared by how well their stages predict responses to sounds (neuromusic "
        f"{record.get('code_version')}; protocol {settings['protocol']}, "
        f"{count(settings['splits'], 'random split')} of the sounds into halves). The best stage "
        "of each network was chosen without the test sounds; the same was done with random weights."
    )
    references = [NADEAU, HOLM]
    return Methods(text, references + [TUCKUTE] * (settings["protocol"] == "tuckute2023"))
