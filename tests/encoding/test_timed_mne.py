import numpy as np
import pytest

from neuromusic.core.errors import InputError
from neuromusic.encoding.timed_responses import TimedInput, is_timed, read_timed

mne = pytest.importorskip("mne")
RATE_HZ = 100.0


@pytest.fixture
def series():
    return np.random.default_rng(0).standard_normal((3, 1000))


@pytest.fixture
def raw(series):
    info = mne.create_info(["one", "two", "off"], RATE_HZ, "eeg")
    raw = mne.io.RawArray(series, info, first_samp=50, verbose="error")
    raw.info["bads"] = ["off"]
    return raw


def test_epochs_of_a_name_are_repeats(tmp_path, series):
    info = mne.create_info(["one", "two"], RATE_HZ, "eeg")
    data = series[:2, :900].reshape(2, 3, 300).transpose(1, 0, 2)
    events = np.array([[0, 0, 7], [400, 0, 9], [800, 0, 7]])
    epochs = mne.EpochsArray(
        data, info, events, tmin=-0.1, event_id={"a": 7, "b": 9}, baseline=None, verbose="error"
    )
    epochs.save(tmp_path / "r-epo.fif", fmt="double", verbose="error")
    assert is_timed(tmp_path / "r-epo.fif")
    read = read_timed(tmp_path / "r-epo.fif")
    assert (read.sounds, read.targets) == (["a", "b"], ["one", "two"])
    assert (read.rate_hz, read.first_sample_s) == (100, -0.1)
    np.testing.assert_allclose(read.values[0], data[[0, 2]].transpose(0, 2, 1))
    assert [len(each) for each in read.values] == [2, 1]


@pytest.mark.parametrize("dated", [False, True])
def test_raw_with_annotations(tmp_path, raw, series, dated):
    if dated:
        raw.set_meas_date(1_000_000)
    begin = raw.first_time if dated else 0
    notes = mne.Annotations(
        np.array([1.0, 4.0, 7.0]) + begin, [2, 2, 1], ["a", "b", "BAD blink"],
        orig_time=raw.info["meas_date"],
    )  # fmt: skip
    raw.set_annotations(notes)
    raw.save(tmp_path / "r_raw.fif", fmt="double", verbose="error")
    read = read_timed(tmp_path / "r_raw.fif")
    assert (read.sounds, read.targets) == (["a", "b"], ["one", "two"])
    np.testing.assert_allclose(read.values[1][0], series[:2, 400:600].T)


def test_raw_with_a_table_of_onsets(tmp_path, raw, series):
    raw.save(tmp_path / "r_raw.fif", fmt="double", verbose="error")
    with pytest.raises(InputError, match="has no annotations"):
        read_timed(tmp_path / "r_raw.fif")
    table = tmp_path / "onsets.tsv"
    table.write_text("onset\tduration\tsound\n1\t1.5\ta\n4\t2\tb\n6\t1\ta\n")
    read = read_timed(tmp_path / "r_raw.fif", TimedInput(onsets=table))
    assert [each.shape for each in read.values] == [(2, 100, 2), (1, 200, 2)]
    np.testing.assert_allclose(read.values[0][1], series[:2, 600:700].T)
    window = TimedInput(onsets=table, window_s=(-0.5, 0.5), rate_hz=50)
    read = read_timed(tmp_path / "r_raw.fif", window)
    assert (read.rate_hz, read.first_sample_s, read.values[1].shape) == (50, -0.5, (1, 50, 2))
    table.write_text("onset\tsound\n9.5\ta\n1\tb\n")
    with pytest.raises(InputError, match="a has no duration"):
        read_timed(tmp_path / "r_raw.fif", TimedInput(onsets=table))
    with pytest.raises(InputError, match=r"a at 9\.5 s is not within"):
        read_timed(tmp_path / "r_raw.fif", TimedInput(onsets=table, window_s=(0, 1)))
    table.write_text("time\tsound\n9.5\ta\n")
    with pytest.raises(InputError, match="expected onset_s, sound"):
        read_timed(tmp_path / "r_raw.fif", TimedInput(onsets=table))
