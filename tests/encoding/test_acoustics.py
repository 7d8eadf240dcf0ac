"""The acoustic baseline, against librosa's own functions on the same sounds."""

import json
import shutil

import librosa
import numpy as np
import pytest
import soundfile
from scipy.signal import chirp

from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine
from neuromusic.design.timing import Placement
from neuromusic.encoding import acoustics
from neuromusic.encoding.acoustics import acoustic_components, sound_volumes
from neuromusic.features.prepared import open_prepared
from neuromusic.fmri.activations import clip_responses
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare
from neuromusic.stimuli.audio import RATE_HZ, read
from neuromusic.stimuli.corpora import Corpus

SOUND_GROUPS = ["spectrum", "loudness", "onsets", "chroma", "tempogram", "modulation"]
WHOLE = Placement(tr_s=1.5, phase_s=0.0, duration_s=15.0)  # a clip of ds003720


def by_volume(frames, n_volumes=10):
    """Mean of librosa's frames (units, frames) of 512 samples in each volume of 1.5 s."""
    volume = np.arange(frames.shape[1]) * 512 / RATE_HZ // 1.5
    return np.stack([frames[:, volume == v].mean(1) for v in range(n_volumes)])


def played(clips, placement=WHOLE):
    """How each clip lies on volumes."""
    return {clip: [placement] for clip in clips}


@pytest.fixture(scope="module")
def clips(sound_run):
    return sorted(open_prepared(sound_run.prepared).row_of_clip())


@pytest.mark.slow
def test_groups_of_a_sound_are_those_of_librosa(small_clips):
    path = small_clips / "jazz.00001_15s.wav"
    [ours] = sound_volumes(path, "mix", [WHOLE])
    wave, _ = librosa.load(path, sr=None)
    mel = librosa.feature.melspectrogram(
        y=wave, sr=RATE_HZ, n_fft=1024, hop_length=512, pad_mode="constant"
    )
    mel = librosa.power_to_db(mel, amin=1e-8, top_db=None)
    rms = librosa.feature.rms(y=wave, frame_length=1024, hop_length=512)
    chroma = librosa.feature.chroma_stft(y=wave, sr=RATE_HZ, hop_length=512)
    onsets = librosa.onset.onset_strength(S=mel, sr=RATE_HZ, hop_length=512)
    tempogram = librosa.feature.tempogram(onset_envelope=onsets, sr=RATE_HZ, hop_length=512)
    np.testing.assert_allclose(ours["spectrum"], by_volume(mel), atol=0.01)
    np.testing.assert_allclose(ours["loudness"], by_volume(20 * np.log10(rms)), atol=0.01)
    np.testing.assert_allclose(ours["chroma"], by_volume(chroma), atol=1e-3)
    np.testing.assert_allclose(ours["onsets"], by_volume(onsets[None]), rtol=1e-3)
    np.testing.assert_allclose(ours["tempogram"], by_volume(tempogram), atol=1e-3)
    assert list(ours) == SOUND_GROUPS
    assert all(np.isfinite(volumes).all() for volumes in ours.values())


def test_groups_follow_what_is_heard(tmp_path):
    t = np.arange(15 * RATE_HZ) / RATE_HZ
    louder = 10 ** ((t // 1.5 - 10) * 4 / 20) * np.sin(2 * np.pi * 440 * t)  # 4 dB per volume
    clicks = np.where((t % 0.25 < 0.01) & (t > 7.5), 0.5 * np.sin(2 * np.pi * 2000 * t), 1e-3)
    octave = chirp(t, 110, 15, 110, method="linear")
    of = {}
    for name, wave in (("louder", louder), ("clicks", clicks), ("octave", octave)):
        soundfile.write(tmp_path / f"{name}.wav", 0.9 * wave, RATE_HZ)
        [of[name]] = sound_volumes(tmp_path / f"{name}.wav", "mix", [WHOLE])
    steps = np.diff(of["louder"]["loudness"][:, 0])
    np.testing.assert_allclose(steps, 4, atol=0.15)
    onsets = of["clicks"]["onsets"][:, 0]
    assert onsets[5:].min() > 10 * onsets[:4].max()
    assert (of["louder"]["chroma"].argmax(1) == 9).all()  # A, counted from C
    assert (of["octave"]["chroma"].argmax(1) == 9).all()


@pytest.mark.slow
def test_clips_and_layout_are_those_of_the_stages(sound_run, clips):
    wanted = played(["never.heard.wav", *clips[::-1][-12:]])
    genres = {clip: clip.split(".")[0] for clip in clips}
    baseline = acoustic_components(sound_run.prepared, wanted, clips[:8], 5, genres)
    responses = clip_responses(sound_run, wanted)
    assert baseline.placed == responses.placed
    assert baseline.missing == responses.missing == ["never.heard.wav"]
    assert list(baseline.groups) == [*SOUND_GROUPS, "labels"]
    assert baseline.left_out == []
    for name, block in baseline.groups.items():
        assert block.shape[:2] == (12, 10)
        assert block.shape[2] <= 5
        assert 0 < baseline.explained[name] <= 1 + 1e-6
        training = block[[clip in clips[:8] for clip, _ in baseline.placed]]
        total = training.reshape(-1, block.shape[2]).var(0).sum()
        assert total == pytest.approx(baseline.explained[name], rel=0.02)
    labels = baseline.by_clip("labels")
    first, second, last = (labels[clips[number], WHOLE] for number in (0, 1, 11))
    assert (first == second).all()  # of one genre
    assert (first != last).any()


def test_each_placement_has_the_means_of_its_own_volumes(sound_run, clips):
    """Other than ds003720's: a clip that begins within a volume, and volumes of 2 s."""
    late, slow = Placement(1.5, 0.5, 15.0), Placement(2.0, 0.0, 15.0)
    wanted = {clips[0]: [WHOLE, late, slow], clips[11]: [slow]}
    baseline = acoustic_components(sound_run.prepared, wanted, clips, 100)
    responses = clip_responses(sound_run, wanted)
    assert baseline.placed == responses.placed == [
        (clips[0], WHOLE), (clips[0], late), (clips[0], slow), (clips[11], slow),
    ]  # fmt: skip
    for block in baseline.groups.values():
        n_volumes = np.isfinite(block).all(2).sum(1)
        np.testing.assert_array_equal(n_volumes, [10, 11, 8, 8])
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(3, 646))  # of 512 samples
    middle_s = np.arange(646) * 512 / RATE_HZ
    for placement, n in ((WHOLE, 10), (late, 11), (slow, 8)):
        volumes = acoustics._on_volumes(frames, 512 / RATE_HZ, placement)
        of_frame = (middle_s + placement.phase_s) // placement.tr_s
        expected = [frames[:, of_frame == volume].mean(1) for volume in range(n)]
        np.testing.assert_allclose(volumes, expected, rtol=1e-4, atol=1e-6)


def test_volumes_after_the_end_of_a_clip_are_nan(tmp_path):
    tree = tmp_path / "tree"
    rng = np.random.default_rng(0)
    for genre in ("blues", "rock"):
        (tree / genre).mkdir(parents=True)
        for number, seconds in enumerate((15.0, 8.0)):
            wave = 0.1 * rng.normal(size=int(seconds * RATE_HZ))
            soundfile.write(tree / genre / f"{genre}.{number:05d}.wav", wave, RATE_HZ)
    lists = make_file_lists(Corpus("folder", tree), split="1:0:1", out=tmp_path / "lists", clip_s=8)
    data = prepare(lists, out=tmp_path / "prepared", waves=True, machine=Machine(1))
    clips = sorted(data.row_of_clip())
    genres = {clip: clip[:4] for clip in clips}
    from_samples = acoustic_components(data, played(clips), clips, 4, genres)
    for block in from_samples.groups.values():
        assert np.isfinite(block[::2]).all()
        assert np.isfinite(block[1::2, :5]).all()
        assert np.isnan(block[1::2, 6:]).all()
    kept = prepare(lists, out=tmp_path / "without", machine=Machine(1))
    from_files = acoustic_components(kept, played(clips), clips, 4, genres)
    for name, block in from_files.groups.items():  # the samples of a set are rounded to 16 bits
        np.testing.assert_allclose(from_samples.groups[name], block, atol=0.02, err_msg=name)


def test_the_channel_is_the_one_that_was_prepared(tmp_path):
    tree = tmp_path / "tree"
    rng = np.random.default_rng(0)
    for genre in ("blues", "rock"):
        (tree / genre).mkdir(parents=True)
        for number in range(2):
            wave = 0.1 * rng.normal(size=(15 * RATE_HZ, 2)) * [1, 0.1]
            soundfile.write(tree / genre / f"{genre}.{number:05d}.wav", wave, RATE_HZ)
    lists = make_file_lists(Corpus("folder", tree), split="1:0:1", out=tmp_path / "lists")
    data = prepare(lists, out=tmp_path / "right", channel="right", machine=Machine(1))
    sounds, reason = acoustics._sounds(data, *zip(*data.row_of_clip().items(), strict=True))
    path, channel = next(iter(sounds))
    loudness = sound_volumes(path, channel, [WHOLE])[0]["loudness"].mean()
    right = read(path, channel="right")
    assert loudness == pytest.approx(20 * np.log10(np.sqrt(np.mean(right**2))), abs=0.2)
    assert reason == ""


def test_without_sound_the_spectrum_is_that_of_the_prepared_features(tiny_run):
    data = open_prepared(tiny_run.prepared)
    clips = sorted(data.row_of_clip())
    baseline = acoustic_components(data, played(clips), clips, 10)
    assert list(baseline.groups) == ["spectrum", "modulation"]
    assert baseline.left_out == [
        "loudness, onsets, chroma, tempogram left out: the set was prepared from features, "
        "without sound"
    ]
    [volumes] = acoustics.feature_volumes(data.row_features(0), data.meta, [WHOLE])
    inside = np.arange(97) * 0.155 // 1.5 == 3
    expected = data.row_features(0)[:, inside].mean(1)
    np.testing.assert_allclose(volumes["spectrum"][3], expected, rtol=1e-5)


@pytest.mark.parametrize("fault", ["gone", "changed"])
def test_sounds_that_are_gone_or_have_changed_are_not_used(fault, sound_run, clips, tmp_path):
    record = json.loads((sound_run.prepared / "provenance.json").read_text())
    lists = tmp_path / "lists"
    shutil.copytree(record["places"]["lists"], lists, symlinks=fault == "gone")
    copied = tmp_path / "prepared"
    shutil.copytree(sound_run.prepared, copied)
    few = clips[:4]
    if fault == "gone":
        record["places"]["lists"] = str(tmp_path / "elsewhere/sounds")
        shutil.rmtree(lists)
    else:
        record["places"]["lists"] = str(lists)
        path = next(lists.rglob(clips[3]))
        soundfile.write(path, 0.5 * read(path), RATE_HZ)
    (copied / "provenance.json").write_text(json.dumps(record))
    baseline = acoustic_components(copied, played(few), few, 5)
    assert list(baseline.groups) == ["spectrum", "modulation"]
    expected = {"gone": "cannot be found", "changed": f"{clips[3]} has changed since"}
    assert expected[fault] in baseline.left_out[0]


def test_a_set_that_was_moved_with_its_lists_finds_its_sounds(sound_run, clips, tmp_path):
    record = json.loads((sound_run.prepared / "provenance.json").read_text())
    shutil.copytree(record["places"]["lists"], tmp_path / "lists", symlinks=True)
    shutil.copytree(sound_run.prepared, tmp_path / "prepared")
    record["places"]["lists"] = "/gone/project/lists"
    (tmp_path / "prepared/provenance.json").write_text(json.dumps(record))
    baseline = acoustic_components(tmp_path / "prepared", played(clips[:4]), clips[:4], 5)
    assert list(baseline.groups) == SOUND_GROUPS


def test_groups_that_cannot_be_given_are_named(tiny_run):
    data = open_prepared(tiny_run.prepared)
    clips = sorted(data.row_of_clip())
    one = acoustic_components(data, played(clips), clips, 5, dict.fromkeys(clips, "jazz"))
    assert one.left_out[1:] == ["labels left out: it is the same in all training clips"]
    lacking = acoustic_components(data, played(clips), clips, 5, dict.fromkeys(clips[1:], "jazz"))
    assert lacking.left_out[1:] == [f"labels left out: {clips[0]} has no class"]
    with pytest.raises(InputError, match="contains none of the 1 clips"):
        acoustic_components(data, played(["other.wav"]), clips, 5)
