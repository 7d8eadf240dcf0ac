"""Commands as real processes: help, imports, logging, and every kind of bad input."""

import logging
import subprocess
import sys

import click
import numpy as np
import pandas as pd
import pytest
import scipy.io
import soundfile
from helpers import TINY_TOML, neuromusic, write_features

from neuromusic.cli.log import echoing_log
from neuromusic.cli.main import cli
from neuromusic.design.orders import GENRES, design_orders, write_order
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.stimuli.corpora import Corpus


def commands(group, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        yield (*path, name)
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_every_command_has_help_with_an_example(path):
    result = neuromusic(*path, "--help", cwd=".")
    assert result.returncode == 0
    assert "Example" in result.stdout
    assert f"neuromusic {path[0]}" in result.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from neuromusic.cli.main import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'librosa', 'matplotlib', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_log_messages_reach_the_current_streams_once(runner, tmp_path):
    """In-process calls neither stack handlers nor write to the stream of an earlier call."""
    results = [
        runner.invoke(cli, ["orders", "from-bids", str(tmp_path), "--out", str(tmp_path / "o")])
        for _ in range(2)
    ]
    assert [result.exit_code for result in results] == [2, 2]
    assert results[0].stderr == results[1].stderr
    assert not logging.getLogger("neuromusic").handlers


def test_warnings_go_to_stderr_and_results_to_stdout_unless_it_has_a_table(capsys):
    logger = logging.getLogger("neuromusic.pipeline.example")
    for info_to_stderr in (False, True):
        with echoing_log(info_to_stderr):
            logger.info("wrote %s", "x" * 200)
            logger.warning("clip a is silent")
            logger.debug("never shown")
        out, err = capsys.readouterr()
        result, warning = "wrote " + "x" * 200 + "\n", "warning: clip a is silent\n"
        assert (out, err) == (("", result + warning) if info_to_stderr else (result, warning))
    logger.info("not shown outside of a command")
    assert capsys.readouterr() == ("", "")


@pytest.fixture(scope="module")
def place(tmp_path_factory, small_clips):
    """A directory with good inputs and, beside them, one bad input of every kind."""
    root = tmp_path_factory.mktemp("cli")
    for order, name in zip(
        design_orders(sorted(path.name for path in small_clips.iterdir()), 0),
        ("trn.mat", "val.mat"),
        strict=True,
    ):
        write_order(order, root / name)
    (root / "clips").symlink_to(small_clips)
    prepare_features(write_features(root / "train.npz"), out=root / "prepared")
    (root / "tiny.toml").write_text(TINY_TOML)
    (root / "wrong.toml").write_text("[train]\nepoch = 3\n")
    (root / "other").mkdir()
    (root / "other" / "thesis.txt").write_text("years")
    cell = np.empty((1, 1), dtype=object)
    for name, entry in (("outside", "../x.wav"), ("genre", "polka.00001_15s.wav")):
        cell[0, 0] = entry
        scipy.io.savemat(root / f"{name}.mat", {"TrnOrd": cell})
    scipy.io.savemat(root / "variable.mat", {"Order": cell, "Other": cell})
    wave = 0.1 * np.random.default_rng(0).standard_normal(16 * 22050)
    for name in ("empty", "short", "corrupt", "silent", "nan"):
        for genre in ("blues", "rock"):
            (root / name / genre).mkdir(parents=True)
        soundfile.write(root / name / "rock" / "good.wav", wave, 22050)
    for name in ("empty", "short", "corrupt"):
        path = root / name / "blues" / "b.wav"
        soundfile.write(path, wave[: {"empty": 0, "short": 9999}.get(name)], 22050)
    path.write_bytes(b"RIFF")
    for name in ("silent", "nan"):
        broken = 0 * wave if name == "silent" else np.where(np.arange(len(wave)) == 9, np.nan, wave)
        soundfile.write(root / name / "blues" / "b.wav", broken, 22050, subtype="FLOAT")
        make_file_lists(
            Corpus("folder", root / name), split="1:0:0", out=root / f"{name}_lists", link="copy"
        )
    some = root / "some"
    some.mkdir()
    for path in sorted(small_clips.iterdir())[2:]:
        (some / path.name).symlink_to(path)
    return root


LISTS = "lists --train-order trn.mat --test-order val.mat --out new --clips"
TRAIN = "train tiny.toml --prepared prepared --out new --set"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("orders check --train-order variable.mat --test-order val.mat", "no variable TrnOrd"),
        ("orders check --train-order outside.mat --test-order val.mat", "row 1, column 1"),
        ("orders check --train-order genre.mat --test-order val.mat", "unknown genre 'polka'"),
        ("orders from-bids other --out new", "has no events"),
        ("orders design --clips other --out new", "needs at least 2 clips per genre"),
        ("stimuli cut --tracks clips --bids other --out new", "has no events"),
        (f"{LISTS} some", "some: 2 of the 30 clips are missing"),
        (f"{LISTS} nowhere", "no such directory"),
        (LISTS.replace("--out new", "--out other") + " clips", "other: contains something else"),
        ("lists --from-folder empty --out new", "b.wav: lasts 0.00 s"),
        ("lists --from-folder short --out new", "b.wav: lasts 0.45 s; expected at least 15 s"),
        ("lists --from-folder corrupt --out new", "b.wav: is not a readable sound file"),
        ("lists --from-folder clips --out new", "expected class/file"),
        ("lists --from-folder silent --split 70:30 --out new", "expected train:valid:test"),
        ("prepare silent_lists --out new", "b.wav: is silent"),
        ("prepare nan_lists --out new", "b.wav: contains NaN"),
        ("prepare other --out new", "has no train.tsv"),
        ("prepare --features trn.mat --out new", "trn.mat: is not a readable .npz"),
        ("leaks other", "has no train.tsv"),
        (f"{LISTS} clips --drop-leaks artist --artists other/thesis.txt", "has no column track"),
        ("augment other", "has no train.tsv"),
        ("train wrong.toml --prepared prepared --out new", "did you mean 'train.epochs'"),
        (f"{TRAIN} model.name=cortex", "unknown model 'cortex'; known: alexnet, bands"),
        (f"{TRAIN} data.window_s=20", "is longer than blues.00000_15s.wav"),
        (f"{TRAIN} data.test_runs=[7]", "no run 7"),
        ("train tiny.toml --prepared other --out new", "is not a prepared set"),
        ("evaluate other", "is not a trained network"),
        ("predict other clips/blues.00000_15s.wav", "is not a trained network"),
        ("export other --lists other --out new", "has no train.tsv"),
        ("crossval tiny.toml --prepared prepared --folds 9 --out new", "cannot be split into 9"),
        ("sweep tiny.toml --trials 2 --storage sqlite:///new.db", "sweep.space: is empty"),
        ("run tiny.toml", "paths: set exactly one of clips"),
        ("confusions other --behaviour other --decoding x --out new",
         "other/predictions.tsv: does not exist"),
        ("models cortex", "unknown model 'cortex'"),
    ],
)  # fmt: skip
def test_bad_input_gives_one_clear_line(place, line, message):
    before = sorted(path.name for path in place.iterdir())
    result = neuromusic(*line.split(), cwd=place)
    assert result.returncode == 2, result.stderr
    errors = [text for text in result.stderr.splitlines() if text.startswith("Error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in place.iterdir()) == before
    assert (place / "other" / "thesis.txt").read_text() == "years"


def test_missing_clips_are_named(place):
    result = neuromusic(*LISTS.split(), "some", cwd=place)
    assert result.stdout.splitlines() == [
        "missing: blues.00000_15s.wav",
        "missing: blues.00001_15s.wav",
    ]
    result = neuromusic(*LISTS.replace("new", "some_lists").split(), "some", "--allow-missing",
                        cwd=place)  # fmt: skip
    assert result.returncode == 0


def test_a_mismatch_exits_with_1(shared, tmp_path):
    folder = shared / "data"
    arguments = ("--test-order", folder / "orders/ExpValOrder.mat", "--bids", folder / "ds003720")
    real = folder / "orders/ExpTrnOrder.mat"
    good = neuromusic("orders", "check", "--train-order", real, *arguments, cwd=tmp_path)
    assert good.returncode == 0
    assert good.stdout.splitlines()[-1] == "no mismatch"
    assert good.stdout.count("18 of 18 runs agree") == 5
    table = scipy.io.loadmat(real)["TrnOrd"]
    table[[4, 5], 2] = table[[5, 4], 2]
    scipy.io.savemat(tmp_path / "trn.mat", {"TrnOrd": table})
    bad = neuromusic("orders", "check", "--train-order", "trn.mat", *arguments, cwd=tmp_path)
    assert bad.returncode == 1
    for subject in range(1, 6):
        for trial in (5, 6):
            assert f"mismatch: sub-00{subject} task-Training run-03 trial {trial}: " in bad.stdout
    assert bad.stdout.splitlines()[-1] == "10 mismatches"


def test_predict_reads_files_of_any_length_rate_and_format(place, small_clips, tmp_path):
    tree = tmp_path / "tree"
    for genre in ("blues", "rock"):
        (tree / genre).mkdir(parents=True)
        for path in small_clips.glob(f"{genre}.*"):
            (tree / genre / path.name).symlink_to(path)
    (tmp_path / "tiny.toml").write_text(TINY_TOML)
    result = neuromusic(
        "run", "tiny.toml", "--set", "paths.folder=tree", "--set", "paths.split=2:0:1",
        "--set", "paths.out=out", "--workers", 1, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "run" / "evaluation.json").is_file()
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, (48000 * 70, 2))
    soundfile.write(tmp_path / "a long one.flac", wave, 48000)
    soundfile.write(tmp_path / "short.mp3", wave[:20000, 0], 44100)
    result = neuromusic(
        "predict", "out/run", "a long one.flac", "short.mp3", "tree/blues/blues.00000_15s.wav",
        "--out", "p.tsv", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    table = pd.read_csv(tmp_path / "p.tsv", sep="\t")
    assert list(table) == ["file", "predicted", "probability", "blues", "rock"]
    assert table["file"].tolist()[:2] == ["a long one.flac", "short.mp3"]
    np.testing.assert_allclose(table[["blues", "rock"]].sum(axis=1), 1, atol=1e-5)
    again = neuromusic(
        "run", "tiny.toml", "--set", "paths.folder=tree", "--set", "paths.split=2:0:1",
        "--set", "paths.out=out", "--workers", 1, cwd=tmp_path,
    )  # fmt: skip
    assert again.stdout.count("unchanged") == 4
    assert set(GENRES) > {"blues", "rock"}
