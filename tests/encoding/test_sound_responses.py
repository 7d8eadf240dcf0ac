"""Responses to short sounds: files in three forms, what cannot be scored, and the sound files."""

import numpy as np
import pandas as pd
import pytest
import scipy.io
import soundfile

from neuromusic.core.errors import InputError
from neuromusic.encoding.sound_responses import Responses, find_sounds, read_responses, usable
from neuromusic.stats import resampling

N = 41  # sounds, an odd number


def names(n=N):
    return [f"sound_{index}" for index in range(n)]


def write_npz(path, values, **others):
    np.savez(path, responses=values, sounds=np.array(names(len(values))), **others)
    return path


def test_the_three_kinds_of_file_contain_the_same_responses(tmp_path):
    rng = np.random.default_rng(0)
    values, weights, targets = rng.random((25, 2)), rng.random((2, 7)), ["A", "B"]
    cell = np.array(names(25), dtype=object)[None]
    mat = {"R": values, "W": weights, "stim_names": cell}
    mat["component_names"] = np.array(targets, dtype=object)[:, None]
    scipy.io.savemat(tmp_path / "a.mat", mat)
    write_npz(tmp_path / "a.npz", values, targets=np.array(targets), weights=weights)
    table = pd.DataFrame(values, columns=targets)
    table.insert(0, "sound", names(25))
    table.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    for kind in ("mat", "npz", "tsv"):
        responses = read_responses(tmp_path / f"a.{kind}")
        assert (responses.sounds, responses.targets) == (names(25), targets)
        np.testing.assert_allclose(responses.values, values)
        expected = np.zeros((25, 0)) if kind == "tsv" else values @ weights
        np.testing.assert_allclose(responses.voxels, expected)


BROKEN = {
    "has no sounds": lambda v: {"responses": v},
    "has no responses": lambda v: {"sounds": np.array(names())},
    "41 x 3, but there are 40 sounds": lambda v: {"responses": v, "sounds": np.array(names(40))},
    "'sound_0' twice": lambda v: {
        "responses": v, "sounds": np.array(["sound_0"] * 2 + names()[2:]),
    },
    "has the shape": lambda v: {"responses": v[:, 0], "sounds": np.array(names())},
    "at least 20": lambda v: {"responses": v[:8], "sounds": np.array(names(8))},
    "weights have 2 rows": lambda v: {
        "responses": v, "sounds": np.array(names()), "weights": np.ones((2, 5)),
    },
    "weight of target-1 in voxel 5 is not a number": lambda v: {
        "responses": v, "sounds": np.array(names()), "weights": np.array([[1] * 4 + [np.nan]] * 3),
    },
    "is not text": lambda v: {"responses": v, "sounds": np.arange(N)},
}  # fmt: skip


@pytest.mark.parametrize("message", BROKEN)
def test_the_message_about_a_broken_file_names_it_and_the_fault(tmp_path, message):
    path = tmp_path / "broken.npz"
    np.savez(path, **BROKEN[message](np.random.default_rng(0).random((N, 3))))
    with pytest.raises(InputError, match=message) as error:
        read_responses(path)
    assert str(path) in str(error.value)


def test_files_of_another_form_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no zip")
    (tmp_path / "a.mat").write_bytes(b"no mat")
    (tmp_path / "a.tsv").write_text("sound\tA\nx\thigh\n")
    (tmp_path / "a.csv").write_text("sound,A\n")
    np.savez(tmp_path / "pickled.npz", responses=np.array([{}], dtype=object), sounds=["a"])
    for name in ("a.npz", "a.mat", "a.tsv", "a.csv", "pickled.npz", "absent.mat"):
        with pytest.raises(InputError, match=name):
            read_responses(tmp_path / name)


def test_targets_that_cannot_be_scored_are_left_out_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    halves = resampling.random_halves(N, 3, seed=0)
    values = rng.random((N, 4))
    values[:, 1] = 2.0
    values[:, 2] = np.nan
    weights = np.array([[1.0, 0.0, 2.0]] * 4)
    kept, left_out, n = usable(Responses(names(), list("abcd"), values), halves, tmp_path)
    assert (kept.targets, left_out, n) == (["a", "d"], ["b", "c"], 0)
    np.testing.assert_array_equal(kept.values, values[:, [0, 3]])
    with pytest.raises(InputError, match="b is constant"):
        usable(Responses(names(), list("abcd"), values, weights), halves, tmp_path)
    good = Responses(names(), list("abcd"), rng.random((N, 4)), weights)
    kept, _, n = usable(good, halves, tmp_path)
    assert (kept.voxels.shape, n) == ((N, 2), 1)
    values[5, 0] = np.nan
    with pytest.raises(InputError, match="a has no value for sound_5"):
        usable(Responses(names(), list("abcd"), values), halves, tmp_path)
    with pytest.raises(InputError, match="no target has values"):
        usable(Responses(names(), ["b"], values[:, [1]]), halves, tmp_path)


def test_each_sound_has_exactly_one_file(tmp_path):
    for name in ("a/sound_1", "a/sound_3", "a/x", "b/x"):
        (tmp_path / f"{name}.wav").parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(100), 22_050)
    assert find_sounds(["sound_3", "sound_1.wav"], tmp_path, tmp_path) == [
        tmp_path / "a/sound_3.wav",
        tmp_path / "a/sound_1.wav",
    ]
    with pytest.raises(InputError, match=r"no sound 'sound_99' and 1 more.*did you mean 'sound_"):
        find_sounds(["sound_1", "sound_99", "noise"], tmp_path, tmp_path)
    with pytest.raises(InputError, match="has the same name"):
        find_sounds(["x"], tmp_path, tmp_path)
    with pytest.raises(InputError, match="no such directory"):
        find_sounds(["x"], tmp_path / "absent", tmp_path)
