"""Features that were computed elsewhere: every layout gives the same, and faults are named."""

import json

import h5py
import numpy as np
import pytest

from neuromusic.core.errors import InputError
from neuromusic.features.feature_folder import open_features

TIMES = {"frame_s": 0.02, "first_frame_s": 0.01}


def features():
    rng = np.random.default_rng(0)
    return {
        sound: {stage: rng.normal(size=(n, units)) for stage, units in (("conv1", 3), ("gru", 5))}
        for sound, n in (("a", 7), ("b", 11))
    }


def write_npy(root, one_json):
    for sound, stages in features().items():
        for stage, values in stages.items():
            (root / stage).mkdir(parents=True, exist_ok=True)
            np.save(root / stage / f"{sound}.npy", values)
            if not one_json:
                (root / stage / f"{sound}.json").write_text(json.dumps(TIMES))
    if one_json:
        (root / "features.json").write_text(json.dumps(TIMES))


def write_npz(root):
    root.mkdir()
    for sound, stages in features().items():
        np.savez(root / f"{sound}.npz", **stages, **TIMES)


def write_npz_of_stages(root):
    root.mkdir()
    for sound, stages in features().items():
        times = {f"{stage}.{key}": value for stage in stages for key, value in TIMES.items()}
        np.savez(root / f"{sound}.npz", **stages, **times)


def write_hdf5(root, of_file):
    root.mkdir()
    for sound, stages in features().items():
        with h5py.File(root / f"{sound}.h5", "w") as file:
            for stage, values in stages.items():
                file[stage] = values
                (file if of_file else file[stage]).attrs.update(TIMES)


@pytest.mark.parametrize(
    "write",
    [
        lambda root: write_npy(root, True),
        lambda root: write_npy(root, False),
        write_npz,
        write_npz_of_stages,
        lambda root: write_hdf5(root, True),
        lambda root: write_hdf5(root, False),
    ],
)
def test_every_layout_gives_the_same_features(tmp_path, write):
    write(tmp_path / "in")
    found = open_features(tmp_path / "in")
    assert found.stages == ["conv1", "gru"]
    assert sorted(found.files) == ["a", "b"]
    for sound, stages in features().items():
        read = found.read(f"{sound}.wav")
        for stage, values in stages.items():
            np.testing.assert_array_equal(read[stage].values, values.astype(np.float32))
            assert (read[stage].frame_s, read[stage].first_frame_s) == (0.02, 0.01)


def test_one_stage_is_named_after_the_folder(tmp_path):
    (tmp_path / "wav2vec").mkdir()
    np.save(tmp_path / "wav2vec/a.npy", np.ones((3, 2)))
    (tmp_path / "wav2vec/features.json").write_text(json.dumps(TIMES))
    assert open_features(tmp_path / "wav2vec").stages == ["wav2vec"]


def nan(root):
    values = np.ones((4, 2))
    values[2, 1] = np.nan
    np.savez(root / "a.npz", x=values, **TIMES)


def two_files(root):
    np.savez(root / "a.npz", x=np.ones((4, 2)), **TIMES)
    (root / "sub").mkdir()
    np.savez(root / "sub/a.npz", x=np.ones((4, 2)), **TIMES)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: None, "contains no features"),
        (lambda root: np.savez(root / "a.npz", x=np.ones((4, 2))), "frame_s is null; expected"),
        (lambda root: np.savez(root / "a.npz", x=np.ones((4, 2)), frame_s=0.0, first_frame_s=0.0),
         "frame_s is 0.0"),
        (lambda root: np.savez(root / "a.npz", x=np.ones(4), **TIMES), r"has the shape \(4,\)"),
        (lambda root: np.savez(root / "a.npz", x=np.array([["u"]]), **TIMES), "expected numbers"),
        (nan, "frame 2, unit 1 is nan"),
        (two_files, "keep one"),
        (lambda root: (root / "a.npz").write_bytes(b"PK"), "is not a readable .npz file"),
        (lambda root: (root / "a.h5").write_bytes(b"\x89HDF"), "is not a readable HDF5 file"),
        (lambda root: np.save(root / "a.npy", np.array([{}]), allow_pickle=True), "readable .npy"),
    ],
)  # fmt: skip
def test_faults_are_named(tmp_path, damage, message):
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        open_features(tmp_path).read("a")


def test_missing_sounds_and_stages_are_named(tmp_path):
    write_npz(tmp_path / "in")
    np.savez(tmp_path / "in/c.npz", conv1=np.ones((3, 2)), **TIMES)
    found = open_features(tmp_path / "in")
    with pytest.raises(InputError, match=r"has no features of d\.wav; it has a, b, c"):
        found.read("d.wav")
    with pytest.raises(InputError, match=r"c.npz: lacks stage gru"):
        found.read("c")
