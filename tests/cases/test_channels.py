"""The channel of stereo sounds, from prepare to predict."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import tiny_settings, tone_clip
from helpers import neuromusic

import neuromusic as nm
from neuromusic.design.bids import RunId
from neuromusic.design.presentations import RunDesign
from neuromusic.fmri.clip_inputs import inputs_from_sound
from neuromusic.stimuli import audio

CLIPS = [(genre, number) for genre in ("blues", "rock") for number in range(3)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Stereo clips, their left channels alone, and a network trained on the left channels."""
    root = tmp_path_factory.mktemp("channels")
    for genre, number in CLIPS:
        index = 0 if genre == "blues" else 9
        left, right = tone_clip(index, number), tone_clip(9 - index, number + 5)
        name = f"{genre}/{genre}.{number:05d}_15s.wav"
        for folder, wave in (("stereo", np.stack([left, right], 1)), ("left", left)):
            (root / folder / genre).mkdir(parents=True, exist_ok=True)
            soundfile.write(root / folder / name, wave, audio.RATE_HZ, subtype="PCM_16")
    for folder in ("stereo", "left"):
        corpus = nm.Corpus("folder", root / folder)
        nm.make_file_lists(corpus, split="2:0:1", out=root / f"lists-{folder}")
    machine = nm.Machine(workers=1)
    nm.prepare(root / "lists-stereo", out=root / "prepared", channel="left", machine=machine)
    nm.train(tiny_settings(), root / "prepared", out=root / "network")
    return root


def test_a_set_of_the_left_channel_equals_that_of_files_with_this_channel(project):
    machine = nm.Machine(workers=1)
    mono = nm.prepare(project / "lists-left", out=project / "prepared-left", machine=machine)
    stereo = nm.open_prepared(project / "prepared")
    np.testing.assert_array_equal(stereo.features, mono.features)
    assert (stereo.meta.channel, mono.meta.channel) == ("left", "mix")
    record = json.loads((project / "prepared/provenance.json").read_text())
    assert record["settings"]["channel"] == "left"


def test_a_set_without_a_channel_was_made_from_the_mix(project, tmp_path):
    path = tmp_path / "prepared"
    nm.prepare(project / "lists-left", out=path, machine=nm.Machine(workers=1))
    meta = json.loads((path / "prepared.json").read_text())
    assert meta.pop("channel") == "mix"
    (path / "prepared.json").write_text(json.dumps(meta))
    assert nm.open_prepared(path).meta.channel == "mix"


def probabilities(text):
    return [line.split("\t")[3:] for line in text.splitlines()]


@pytest.mark.slow
def test_a_network_hears_the_channel_that_it_was_trained_on(project):
    def predicted(folder, *options):
        files = sorted((project / folder).glob("*/*.wav"))
        done = neuromusic("predict", "network", *files, *options, cwd=project)
        assert done.returncode == 0, done.stderr
        return probabilities(done.stdout)

    assert predicted("stereo") == predicted("left") == predicted("stereo", "--channel", "left")
    assert predicted("stereo") != predicted("stereo", "--channel", "right")
    assert predicted("stereo") != predicted("stereo", "--channel", "mix")


def test_a_network_can_be_loaded_with_another_channel(project):
    file = project / "stereo/rock/rock.00000_15s.wav"
    loaded = nm.load_network(project / "network")
    assert loaded.meta.channel == "left"
    right = nm.load_network(project / "network", channel="right")
    by_option = nm.predict(loaded, file, channel="right")
    pd.testing.assert_frame_equal(nm.predict(right, file), by_option)
    with pytest.raises(nm.InputError, match="channel='centre': expected mix, left, right"):
        nm.load_network(project / "network", channel="centre")


def test_a_network_of_precomputed_features_has_no_channel(tiny_run):
    with pytest.raises(nm.InputError, match="was trained on precomputed features"):
        nm.load_network(tiny_run.directory, channel="left")


def test_exports_hear_the_channel_of_the_network(project):
    network = nm.load_network(project / "network")
    clips = pd.read_csv(project / "lists-stereo/test.tsv", sep="\t")
    played = clips[["clip"]].assign(duration_s=15.0)
    runs = [RunDesign(RunId("", "", "x", 1), None, None, 1.5, None, played)]
    stereo = inputs_from_sound(network, project / "lists-stereo", clips, runs)
    left = inputs_from_sound(network, project / "lists-left", clips, runs)
    clip = clips["clip"].iloc[0]
    np.testing.assert_array_equal(stereo.read(clip), left.read(clip))


def test_the_index_of_similar_is_one_of_a_channel(project, tmp_path):
    clip = project / "stereo/rock/rock.00000_15s.wav"
    among = project / "stereo"
    tables = {
        channel: nm.similar(
            nm.load_network(project / "network", channel=channel), clip, among=among
        )
        for channel in ("left", "right", "mix", "left")
    }
    assert tables["left"]["similarity"].iloc[0] == pytest.approx(1)
    assert not np.allclose(tables["left"]["similarity"], tables["right"]["similarity"])
    done = neuromusic("similar", "network", "--clip", clip, "--among", "stereo", cwd=project)
    found = [float(line.split("\t")[2]) for line in done.stdout.splitlines()[1:]]
    np.testing.assert_allclose(found, tables["left"]["similarity"], atol=1e-5)


def test_augment_and_leaks_take_a_channel(project):
    done = neuromusic("augment", "lists-stereo", "--channel", "left", "--workers", 1, cwd=project)
    assert done.returncode == 0, done.stderr
    assert neuromusic("augment", "lists-left", "--workers", 1, cwd=project).returncode == 0
    written = sorted((project / "lists-stereo").glob("*/*_v*.wav"))
    assert len(written) == 4 * 9
    for path in written:
        other = project / "lists-left" / path.relative_to(project / "lists-stereo")
        assert path.read_bytes() == other.read_bytes()
    for channel in ("left", "right"):
        command = ("leaks", "lists-stereo", "--audio", "--channel", channel)
        assert neuromusic(*command, cwd=project).returncode in (0, 1)


def test_sounds_that_cancel_stop_prepare_with_the_file_and_nothing_is_left(project, tmp_path):
    for genre, number in CLIPS:
        wave = tone_clip(3, number)
        (tmp_path / "genres" / genre).mkdir(parents=True, exist_ok=True)
        soundfile.write(
            tmp_path / f"genres/{genre}/{genre}{number}.wav",
            np.stack([wave, -wave if (genre, number) == ("rock", 1) else wave], 1), audio.RATE_HZ,
        )  # fmt: skip
    corpus = nm.Corpus("folder", tmp_path / "genres")
    nm.make_file_lists(corpus, split="2:0:1", out=tmp_path / "lists")
    command = ("prepare", "lists", "--out", "prepared", "--workers", 2)
    done = neuromusic(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "rock1.wav: its channels cancel each other" in done.stderr
    assert not (tmp_path / "prepared").exists()
    done = neuromusic(*command, "--channel", "right", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
