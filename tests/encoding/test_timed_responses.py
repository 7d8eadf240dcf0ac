from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from neuromusic.core.errors import InputError
from neuromusic.encoding.timed_responses import TimedInput, is_timed, match_sounds, read_timed

SHARED = Path(__file__).parents[3] / "shared" / "data"
VALUES = np.random.default_rng(0).standard_normal((3, 20, 4))
SOUNDS = ["a.wav", "b.wav", "c.wav"]


def cells(names):
    out = np.empty((1, len(names)), dtype=object)
    out[0] = names
    return out


def write_matlab73(path, values, names, rate_hz):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["R"] = values.T
        file["rate_hz"] = [[rate_hz]]
        references = np.empty((len(names), 1), dtype=h5py.ref_dtype)
        for row, name in enumerate(names):
            text = file.create_dataset(
                f"#refs#/{row}", data=np.array([[ord(c)] for c in name], "u2")
            )
            text.attrs["MATLAB_class"] = np.bytes_("char")
            references[row, 0] = text.ref
        item = file.create_dataset("stim_names", data=references, dtype=h5py.ref_dtype)
        item.attrs["MATLAB_class"] = np.bytes_("cell")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


def write(path, kind):
    if kind == "mat5":
        times = np.arange(20)[None] / 25 + 0.1
        scipy.io.savemat(path, {"R": VALUES, "stim_names": cells(SOUNDS), "t": times})
    elif kind == "mat73":
        write_matlab73(path, VALUES, SOUNDS, 25.0)
    elif kind == "npz":
        np.savez(path, responses=VALUES, sounds=SOUNDS, rate_hz=25)
    elif kind == "npz per sound":
        np.savez(path, rate_hz=25, **dict(zip(SOUNDS, VALUES, strict=True)))
    else:
        with h5py.File(path, "w") as file:
            file["responses"], file["sounds"], file["rate_hz"] = VALUES, SOUNDS, 25.0


@pytest.mark.parametrize(
    ("name", "kind"),
    [("r.mat", "mat5"), ("r.mat", "mat73"), ("r.npz", "npz"), ("r.npz", "npz per sound"),
     ("r.h5", "h5")],
)  # fmt: skip
def test_every_format_gives_the_same(tmp_path, name, kind):
    write(tmp_path / name, kind)
    assert is_timed(tmp_path / name)
    read = read_timed(tmp_path / name)
    assert read.sounds == SOUNDS
    assert read.rate_hz == pytest.approx(25)
    assert read.first_sample_s == pytest.approx(0.1 if kind == "mat5" else 0)
    np.testing.assert_allclose(np.stack(read.means), VALUES)
    assert not read.has_repeats and read.are_equally_long


def test_repeats_come_first(tmp_path):
    repeats = np.stack([VALUES, VALUES + 1])
    np.savez(tmp_path / "r.npz", responses=repeats, sounds=SOUNDS, rate_hz=25)
    read = read_timed(tmp_path / "r.npz")
    assert read.has_repeats
    np.testing.assert_allclose(read.values[1], repeats[:, 1])


def test_cells_of_matrices_may_differ_in_length(tmp_path):
    series = cells([VALUES[0], VALUES[1, :9], VALUES[2]])
    content = {"R": series, "stim_names": cells(SOUNDS), "rate_hz": 10.0}
    scipy.io.savemat(tmp_path / "r.mat", content)
    assert is_timed(tmp_path / "r.mat")
    assert [each.shape for each in read_timed(tmp_path / "r.mat").values][1] == (1, 9, 4)


def test_a_matrix_of_sounds_and_targets_is_not_timed(tmp_path):
    np.savez(tmp_path / "r.npz", responses=VALUES[:, 0], sounds=SOUNDS)
    assert not is_timed(tmp_path / "r.npz")
    (tmp_path / "r.tsv").write_text("sound\tone\na\t1\n")
    assert not is_timed(tmp_path / "r.tsv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate_hz": None}, r"has no sampling rate; add rate_hz"),
        ({"rate_hz": -1.0}, "rate_hz is -1"),
        ({"sounds": None}, "has no names of sounds"),
        ({"sounds": SOUNDS[:2]}, "but there are 2 sounds"),
        ({"sounds": ["a", "a", "b"]}, "contains the sound 'a' twice"),
        ({"targets": ["x"]}, "a.wav has 4 targets; expected 1"),
        ({"responses": np.where(VALUES[1, 2, 3] == VALUES, np.nan, VALUES)},
         "target-4 has no number at sample 3 of b.wav"),
        ({"t": np.array([0, 1, 5.0]), "rate_hz": None}, "not evenly spaced"),
        ({"responses": VALUES[:1], "sounds": ["a"]}, "responses to one sound"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_a_sentence(tmp_path, change, message):
    content = {"responses": VALUES, "sounds": SOUNDS, "rate_hz": 25.0} | change
    np.savez(tmp_path / "r.npz", **{k: v for k, v in content.items() if v is not None})
    with pytest.raises(InputError, match=message) as error:
        read_timed(tmp_path / "r.npz")
    assert "\n" not in str(error.value)


def test_a_missing_rate_may_be_given(tmp_path):
    np.savez(tmp_path / "r.npz", responses=VALUES, sounds=SOUNDS)
    assert read_timed(tmp_path / "r.npz", TimedInput(rate_hz=50)).rate_hz == 50
    with pytest.raises(InputError, match="rate_hz=0"):
        TimedInput(rate_hz=0)


def test_sounds_match_by_name_or_stem_in_any_order():
    assert match_sounds(["b", "a.wav"], ["a.wav", "b.flac"], "here") == ["b.flac", "a.wav"]
    names = [f"x{k}" for k in range(12)]
    with pytest.raises(InputError, match=r"12 of 12 names .*x9 and 2 more; sounds: a, b") as error:
        match_sounds(names, ["b", "a"], "here")
    assert "x10" not in str(error.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
def test_published_responses():
    components = read_timed(SHARED / "ecog165" / "ecog_component_responses.mat")
    assert (len(components.sounds), components.values[0].shape) == (165, (1, 75, 15))
    assert components.rate_hz == pytest.approx(25) and components.first_sample_s == 0
    stories = read_timed(SHARED / "naplib_speech" / "responses.npz")
    assert (len(stories.sounds), stories.rate_hz) == (10, 100)
    assert not stories.are_equally_long
    assert not is_timed(SHARED / "natsound165" / "components.mat")
