"""Folds of an encoding: what is left out is not fitted, and everything is predicted once."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut

pytest.importorskip("himalaya")

from neuromusic.core.errors import InputError
from neuromusic.design.bids import RunId
from neuromusic.design.experiment import Encoding as Division
from neuromusic.design.experiment import Experiment, Files, Sounds
from neuromusic.design.presentations import Design, RunDesign
from neuromusic.design.timing import HIGH_PASS_HZ, all_placements
from neuromusic.encoding.designs import Designs
from neuromusic.encoding.fit_rows import fit_folds, fold_problems, used_rows
from neuromusic.encoding.folds import make_folds
from neuromusic.encoding.options import DELAYS_TR, EncodingOptions
from neuromusic.encoding.ridge import ALPHAS
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.subjects import designs_alone
from neuromusic.encoding.voxelwise import encode_voxels
from neuromusic.fmri.bold import clean_run
from neuromusic.fmri.scan_series import stage_design
from neuromusic.fmri.scans import Scans, repeat_rows, volume_rows
from neuromusic.fmri.voxel_space import VoxelSpace

SCHEMES = ("tasks", "runs", "sounds", "groups")
SOUND_S, TR_S, GROUP = 6.0, 2.0, 4
VOXELS = 120


def scans_of(split, onsets_s, sounds, tr_s=TR_S, folds=None, tasks=None):
    """Runs without images: the onsets and the numbers of the sounds of each run."""
    tasks = tasks or ["hear"] * len(onsets_s)
    runs = {}
    for number, (onset_s, played, task) in enumerate(zip(onsets_s, sounds, tasks, strict=True), 1):
        trials = pd.DataFrame(
            {
                "trial": np.arange(1, len(played) + 1), "repeat": 1, "onset_s": onset_s,
                "duration_s": SOUND_S, "clip": [f"{each:02d}.wav" for each in played],
                "class": "", "group": [f"piece {each // GROUP}" for each in played],
                "is_dummy": False,
            }
        )  # fmt: skip
        run = RunId("01", "", task, number)
        part = {"hear": None, "learn": "train", "test": "test"}[task]
        n_volumes = int((onset_s[-1] + 20) // tr_s)
        runs[run] = RunDesign(run, part, None, tr_s, n_volumes, trials)
    named = {"train": ("learn",), "test": ("test",)} if split == "tasks" else {}
    experiment = Experiment(
        name="x",
        files=Files(tasks=tuple(dict.fromkeys(tasks))),
        sounds=Sounds(sound="stim", group="piece"),
        encoding=Division(split=split, folds=folds, **named),
    )
    rows = volume_rows(runs, Design(experiment, runs), {})
    space = VoxelSpace("array", (1,), None, ())
    return Scans("01", space, {}, runs, {}, rows, [], experiment.encoding)


def spaced(split, rng, n_runs=6, n_sounds=20, folds=None):
    """Runs with silences of 4 to 8 s, which play all sounds, each in an order of its own.

    With "tasks", the first runs are for training and play other sounds than the last two.
    """
    silence_s = [rng.choice([4.0, 6.0, 8.0], n_sounds) for _ in range(n_runs)]
    onsets_s = [np.cumsum([0.01, *(SOUND_S + each)])[:-1] for each in silence_s]
    sounds = [rng.permutation(n_sounds) for _ in range(n_runs)]
    tasks = None
    if split == "tasks":
        tasks = ["learn"] * (n_runs - 2) + ["test"] * 2
        sounds[:-2] = [each + n_sounds * (1 + run) for run, each in enumerate(sounds[:-2])]
    return scans_of(split, onsets_s, sounds, folds=folds, tasks=tasks)


def folds_of(scans, usable=None):
    """Return the folds, the rows that are scored, and which rows can be used."""
    usable = np.ones(len(scans.rows), bool) if usable is None else usable
    test, _ = repeat_rows(scans.rows, usable)
    return make_folds(scans, scans.rows, usable, test, DELAYS_TR, HIGH_PASS_HZ), test, usable


def sounds_reaching(scans):
    """Return which sounds each row may respond to, from the onsets alone."""
    found = []
    for run in scans.runs.values():
        for volume in range(run.n_volumes):
            begin_s = (volume - max(DELAYS_TR)) * run.tr_s
            end_s = (volume + 1) * run.tr_s
            onset_s = run.trials["onset_s"]
            heard = (onset_s < end_s - 1e-3) & (onset_s + SOUND_S > begin_s + 1e-3)
            found.append(frozenset(run.trials["clip"][heard]))
    return np.array(found, object)


# --- Which rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SCHEMES)
def test_every_scored_row_is_predicted_once_and_never_fitted(split):
    scans = spaced(split, np.random.default_rng(0))
    folds, test, _ = folds_of(scans)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(test.size))
    for fold in folds:
        assert not fold.train[test.ravel()[fold.test]].any()
    expected = {"tasks": 1, "runs": 6, "sounds": 4, "groups": 2}  # 20 sounds in groups of 4
    assert len(folds) == expected[split]


@settings(max_examples=25)
@given(
    st.sampled_from(["runs", "sounds", "groups"]), st.integers(3, 5), st.integers(9, 14),
    st.sampled_from([0.72, 1.0, 1.5, 2.0, 2.5]), st.integers(0, 1000),
)  # fmt: skip
def test_no_fitted_row_contains_a_response_to_what_is_left_out(split, n_runs, n_sounds, tr_s, seed):
    rng = np.random.default_rng(seed)
    gaps_s = rng.uniform(3, 12, (n_runs, n_sounds)).round(2)
    onsets_s = rng.uniform(0, 5, (n_runs, 1)).round(2) + np.cumsum(SOUND_S + gaps_s, axis=1)
    sounds = [rng.permutation(n_sounds) for _ in range(n_runs)]
    scans = scans_of(split, onsets_s.round(2), sounds, tr_s)
    usable = rng.random(len(scans.rows)) < 0.98
    scored = scans.rows["within"] >= 0
    usable |= scored.to_numpy()
    folds, test, _ = folds_of(scans, usable)
    reaching, run = sounds_reaching(scans), scans.rows["run"].to_numpy()
    column = {"runs": "run", "sounds": "sound", "groups": "group"}[split]
    for fold in folds:
        rows = test.ravel()[fold.test]
        left_out = set(scans.rows[column].to_numpy()[rows])
        if split == "runs":
            assert len(left_out) == 1
            np.testing.assert_array_equal(fold.train, usable & ~np.isin(run, list(left_out)))
            continue
        clips = set(scans.rows["sound"].to_numpy()[rows])
        assert fold.clips == clips
        reached = np.array([bool(clips & each) for each in reaching])
        silence_after = scans.rows["sound"].isin(clips).to_numpy()
        np.testing.assert_array_equal(fold.train, usable & ~reached & ~silence_after)
        others = ~scans.rows["sound"].isin(clips).to_numpy() & scored.to_numpy()
        assert not (left_out & set(scans.rows[column].to_numpy()[others]))


@pytest.mark.parametrize(
    ("split", "folds", "n"),
    [("sounds", 3, 3), ("sounds", 50, 20), ("groups", 5, 5), ("groups", 9, 5), ("runs", 2, 6)],
)
def test_the_description_sets_the_number_of_folds(split, folds, n):
    assert len(folds_of(spaced(split, np.random.default_rng(1), folds=folds))[0]) == n


def test_sounds_of_one_name_are_spread_over_the_folds():
    """Neighbours in the order of the names, which often share a class, are in different folds."""
    folds, _, _ = folds_of(spaced("sounds", np.random.default_rng(2)))
    numbers = [sorted(int(clip[:2]) for clip in fold.clips) for fold in folds]
    assert numbers == [[first, *range(first + 4, 20, 4)] for first in range(4)]


def test_sounds_that_cannot_be_divided_are_an_error():
    rng = np.random.default_rng(3)
    with pytest.raises(InputError, match="1 group cannot be divided into folds"):
        folds_of(spaced("groups", rng, n_sounds=4))


# --- Through the encoding -------------------------------------------------------------------------


def courses(scans, columns, rng, identity=False):
    """Random features of each sound; with ``identity``, one column for each sound."""
    places = all_placements([(run.trials, run.tr_s) for run in scans.runs.values()])
    names = sorted(places)
    found = {}
    for index, name in enumerate(names):
        longest = max(place.n_volumes for place in places[name])
        course = rng.standard_normal((longest, columns))
        if identity:
            course = np.tile(np.eye(len(names))[index], (longest, 1))
        found |= {(name, place): course[: place.n_volumes] for place in places[name]}
    return found


def problem(split, seed, identity=False, share=0.3):
    """Return series (rows, voxels), rows and designs; the first half of the voxels respond."""
    rng = np.random.default_rng(seed)
    scans = spaced(split, rng)
    features = courses(scans, 6, rng, identity)
    columns = next(iter(features.values())).shape[1]

    def designs_of(only=None):
        design = stage_design(scans, features, np.zeros(columns), DELAYS_TR, HIGH_PASS_HZ, only)
        return Designs({"A1": design})

    designs = designs_of()
    folds = partial(make_folds, scans, delays_tr=DELAYS_TR, high_pass_hz=HIGH_PASS_HZ)
    used = used_rows(scans.rows, designs.stages.values(), HIGH_PASS_HZ, TR_S, folds)
    if used.folds[0].clips is not None:
        designs = replace(designs, alone=designs_alone(used, designs_of))
    x = designs.stages["A1"]
    response = x @ rng.standard_normal((x.shape[1], VOXELS))
    response /= response.std(0)
    amount = np.where(np.arange(VOXELS) < VOXELS // 2, share, 0.0)
    series = np.sqrt(amount) * response
    series += np.sqrt(1 - amount) * rng.standard_normal((len(x), VOXELS))
    run = scans.rows["run"].to_numpy()
    parts = [series[run == each].astype(np.float32) for each in range(len(scans.runs))]
    return np.concatenate([clean_run(each, TR_S, HIGH_PASS_HZ)[0] for each in parts]), used, designs


def encoded(series, used, designs):
    areas = Areas(["driven", "noise"], np.repeat([1, 2], VOXELS // 2))
    return encode_voxels(series, used, designs, areas, EncodingOptions())


@pytest.mark.parametrize("split", SCHEMES)
def test_a_planted_response_is_found_and_noise_is_not(split):
    result = encoded(*problem(split, 4))
    driven, noise = result.voxels[: VOXELS // 2], result.voxels[VOXELS // 2 :]
    assert driven["r_A1"].mean() > 0.4
    assert (driven["p_A1"] < 0.05).mean() > 0.9
    assert abs(noise["r_A1"].mean()) < 0.05
    assert (noise["p_A1"] < 0.05).mean() < 0.05 + 4 * np.sqrt(0.05 * 0.95 / len(noise))
    areas = result.areas.set_index("area")
    tested = split in ("tasks", "runs")
    assert areas["p"].notna().all() == tested
    if tested:
        assert areas.loc["driven", "p"] < 1e-6
        assert areas.loc["driven", "p_rank"] < 0.01
        assert areas.loc["noise", "p"] > 0.01


@pytest.mark.parametrize("split", ["sounds", "groups"])
def test_the_identity_of_a_sound_does_not_predict_a_sound_that_was_left_out(split):
    """Half of the voxels respond differently to each sound, and features say which one is played.

    The filter leaves a trace of each response in all volumes of a run. Without `Fold.removed` it is
    fitted, and r is .45 and .35.
    """
    left_out = encoded(*problem(split, 5, identity=True, share=0.6)).voxels["r_A1"]
    same = encoded(*problem("runs", 5, identity=True, share=0.6)).voxels["r_A1"]
    assert same[: VOXELS // 2].mean() > 0.5
    assert abs(left_out[: VOXELS // 2].mean()) < 0.05
    assert abs(left_out[VOXELS // 2 :].mean()) < 0.05


# --- Against scikit-learn -------------------------------------------------------------------------


def test_predictions_are_those_of_scikit_learn():
    """Runs left out by LeaveOneGroupOut, and the penalty within the others as well."""
    series, used, designs = problem("runs", 6)
    x = designs.stages["A1"].astype(float)
    problems = fold_problems([designs.stages["A1"]] * len(used.folds), used)
    fits = fit_folds(problems, series[:, :3], used)
    expected = np.empty((len(x), 3))
    for train, test in LeaveOneGroupOut().split(x, groups=used.runs):
        unit = ((x[train] - x[train].mean(0)) ** 2).sum() / x.shape[1]
        for voxel in range(3):
            search = GridSearchCV(
                Ridge(), {"alpha": ALPHAS * unit}, cv=LeaveOneGroupOut(),
                scoring="neg_mean_squared_error",
            )  # fmt: skip
            search.fit(x[train], series[train, voxel], groups=used.runs[train])
            expected[test, voxel] = search.predict(x[test])
    np.testing.assert_allclose(fits.repeats, expected[used.test.ravel()], atol=2e-3)


def test_groups_are_divided_as_by_group_k_fold():
    """No group is on both sides; folds are as large as those of scikit-learn."""
    scans = spaced("groups", np.random.default_rng(7), folds=5)
    folds, test, _ = folds_of(scans)
    group = scans.rows["group"].to_numpy()[test.ravel()]
    theirs = [set(group[held]) for _, held in GroupKFold(5).split(group, groups=group)]
    ours = [set(group[fold.test]) for fold in folds]
    assert sorted(map(sorted, ours)) == sorted(map(sorted, theirs))
