"""Make an ensemble of trained networks: their mean probabilities, at one temperature."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from neuromusic.core.errors import InputError
from neuromusic.core.files import as_path, write_json
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.plan import Work
from neuromusic.core.records import hash_inputs, record_hash
from neuromusic.evaluation.scores import as_input_of, score_clips, training_set
from neuromusic.evaluation.temperature import HIGHEST, LOWEST, calibrated, fit_temperature
from neuromusic.features.prepared import PreparedSet, as_prepared
from neuromusic.training.ensemble import (
    Ensemble,
    as_ensemble,
    config_of,
    member_names,
    save_ensemble,
    why_apart,
)
from neuromusic.training.estimates import scoring_s
from neuromusic.training.selection import labels, select
from neuromusic.training.trained import (
    WEIGHTS,
    TrainedNetwork,
    as_network,
    best_device,
    load_network,
)

log = logging.getLogger(__name__)

COMMAND = "ensemble"
ABOUT = "ensemble.json"  # what it was made from, for people
NO_COMMON_RUN = (
    "no clip is held out for validation by all members (train them with data.validation_runs in "
    "common to have one)"
)


def ensemble(
    networks: Sequence[TrainedNetwork | Path | str],
    *,
    out: Path | str,
    prepared: PreparedSet | Path | str | None = None,
    overwrite: bool = False,
) -> TrainedNetwork:
    """Make one trained network of several, which answer together.

    The probabilities of a clip are the mean of the members' probabilities, each pooled over the
    member's own windows, at a temperature that is fitted on the validation clips that all members
    held out. Members that make the same mistakes, such as seeds of one recipe, gain nothing; they
    should differ in what they take in: network, window, statistics of bands.

    Parameters
    ----------
    networks : sequence of TrainedNetwork, str or Path
        Two or more trained networks, or their directories, that were trained on the same prepared
        set. They may differ in network, window, hop, seed, settings and held-out runs.
    out : str or Path
        Directory of the ensemble. It contains copies of the weights, so the members can be removed.
    prepared : PreparedSet, str or Path, optional
        Where the prepared set of the members is now, if it was moved.
    overwrite : bool
        Replace another ensemble in ``out``.

    Returns
    -------
    TrainedNetwork
        The ensemble, which all functions take that take a trained network. ``members`` are the
        networks, ``temperature`` is 1 if no clip is held out for validation by all of them.

    Raises
    ------
    InputError
        If there are fewer than two networks, two do not belong together (the message names them and
        what differs), the prepared set no longer exists, or ``out`` contains something else.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern Neural Networks, ICML.

    Examples
    --------
    >>> import neuromusic as nm
    >>> settings = {"model": {"name": "bands"}, "train": {"epochs": 1}, "data": {"window_s": 12.0}}
    >>> bands = nm.train(settings, "prepared_npz", out="bands")
    >>> both = nm.ensemble(["network", bands], out="both")
    >>> [member.name for member in both.members], both.network.stages[-1].name
    (['cortex-z', 'bands'], 'bandsstep3')
    """
    out = as_path(out)
    check_target(out, COMMAND)
    members = [as_network(network) for network in networks]
    _check_members(members)
    data = _training_set(members[0], prepared)
    together = _untempered(members, data, out)
    inputs = {
        **hash_inputs([member.directory / WEIGHTS for member in members]),
        "prepared": record_hash(data.directory),
    }
    places = {f"networks.{number}": member.directory for number, member in enumerate(members)}
    settings = {"members": together.config.model.options["members"]}
    step = Step(
        COMMAND, out, settings, inputs, places | {"prepared": data.directory}, str(best_device()),
        function="ensemble", overwrite=overwrite, work=_work(together, data),
    )  # fmt: skip
    if step.is_done():
        return load_network(out)
    with step.directory() as directory:
        temperature, fit = _fit(together, data)
        save_ensemble(directory, replace(together, temperature=temperature))
        write_json(directory / ABOUT, _about(members, inputs, temperature, fit))
    log.info("%s", _report(temperature, fit))
    if "after" in fit and not 1.01 * LOWEST < temperature < 0.99 * HIGHEST:
        log.warning(
            "this temperature is at the end of the range that is tried, %g to %g: the validation "
            "clips are too few, or the members are no better than chance", LOWEST, HIGHEST,
        )  # fmt: skip
    log.info("wrote %s: an ensemble of %s", out, ", ".join(str(m.directory) for m in members))
    return load_network(out)


def _check_members(members: Sequence[TrainedNetwork]) -> None:
    """Raise InputError unless there are several networks that belong together."""
    if len(members) < 2:
        raise InputError("networks: an ensemble needs at least two trained networks")
    for member in members:
        if isinstance(member, Ensemble):
            raise InputError(f"{member.directory}: is an ensemble; name its members instead")
    for first, other in combinations(members, 2):
        why = why_apart(first, other)
        if why:
            raise InputError(
                f"{other.directory}: does not belong in an ensemble with {first.directory}: it "
                f"{why}; choose networks with the same classes and the same prepared set"
            )


def _training_set(member: TrainedNetwork, prepared: PreparedSet | Path | str | None) -> PreparedSet:
    data = training_set(member) if prepared is None else as_prepared(prepared)
    if not member.is_trained_on(data):
        raise InputError(
            f"{data.directory}: is not the prepared set that {member.directory} was trained on; "
            "name the directory of that set as prepared"
        )
    return data


def _untempered(members: Sequence[TrainedNetwork], data: PreparedSet, out: Path) -> Ensemble:
    """Return the ensemble at temperature 1."""
    rows = data.rows[data.rows["split"] == "train"]
    runs = sorted(int(run) for run in rows["run"].dropna().unique())
    together = as_ensemble(out, members, config_of(members, runs), 1.0)
    return replace(together, prepared=data.directory)  # it may have been moved


def _work(together: Ensemble, data: PreparedSet) -> Work:
    n_frames = as_input_of(together, data).features.shape[2]
    n_valid = len(select(data, together.config.data).valid)
    n_bytes = sum((member.directory / WEIGHTS).stat().st_size for member in together.members)
    return Work(
        f"a temperature for {len(together.members)} networks from {n_valid} validation clips",
        scoring_s(together, n_valid, n_frames),
        n_bytes,
    )


def _fit(together: Ensemble, data: PreparedSet) -> tuple[float, dict[str, Any]]:
    """Return the temperature, and how calibrated the ensemble is before and after it."""
    inputs = as_input_of(together, data)
    rows = select(inputs, together.config.data).valid
    if len(rows) == 0:
        return 1.0, {"why_none": NO_COMMON_RUN}
    truth = labels(inputs, together.classes)[rows]
    _, log_p = score_clips(together, inputs, rows)
    before = calibrated(truth, log_p, 1.0)
    if (log_p.argmax(1) == truth).all():
        why = f"all {len(rows)} validation clips are right, so no temperature is too low"
        return 1.0, {"why_none": why, "before": before}
    temperature = fit_temperature(truth, log_p)
    return temperature, {"before": before, "after": calibrated(truth, log_p, temperature)}


def _about(
    members: Sequence[TrainedNetwork], inputs: dict[str, str], temperature: float,
    fit: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    return {
        "members": [
            {
                "name": name,
                "directory": member.directory.resolve().name,
                "weights": inputs[str(member.directory / WEIGHTS)],
                "model": member.name,
                "seed": member.config.train.seed,
                "window_s": member.config.data.window_s,
                "hop_s": member.config.data.hop_s,
            }
            for name, member in zip(member_names(members), members, strict=True)
        ],
        "temperature": temperature,
        "validation": fit,
    }


def _report(temperature: float, fit: dict[str, Any]) -> str:
    if "why_none" in fit:
        return f"no temperature is fitted: {fit['why_none']}"
    before, after = fit["before"], fit["after"]
    return (
        f"temperature {temperature:.3f}, fitted on {before['n']} validation clips: cross-entropy "
        f"{before['cross_entropy']:.3f} before, {after['cross_entropy']:.3f} after; calibration "
        f"error {before['calibration_error']:.3f} before, {after['calibration_error']:.3f} after"
    )
