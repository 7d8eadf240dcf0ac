"""The public Python API: every name, its docstring, its example, and the code in the README."""

import doctest
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import tiny_settings, tone_clip
from designs import write_events as write_rows
from helpers import write_events, write_features
from pages import blocks_of
from spreadsheets import judgements, write_sheet

import neuromusic as nm
from neuromusic.design.lists import write_lists
from neuromusic.design.orders import GENRES, Order, write_order

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# Examples in this order: later ones use what earlier ones wrote.
FIRST = (
    "check_orders", "make_lists", "make_file_lists", "prepare", "prepare_features", "train",
    "evaluate", "simulate", "encode_participant",
)  # fmt: skip
FUNCTIONS = [name for name in nm.__all__ if inspect.isroutine(getattr(nm, name))]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )


def test_the_import_loads_neither_numpy_nor_torch():
    code = "import json, sys, neuromusic; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(run_python(code).stdout))
    assert not loaded & {"numpy", "torch", "pandas", "click", "rich"}


def test_all_names_are_listed_and_an_unknown_one_is_an_attribute_error():
    assert set(nm.__all__) <= set(dir(nm))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        nm.trian  # noqa: B018


@pytest.mark.parametrize("name", nm.__all__)
def test_every_public_name_has_a_docstring_with_an_example(name):
    text = inspect.getdoc(getattr(nm, name))
    assert text, name
    assert "\nExamples\n--------\n" in text, name
    summary = text.splitlines()[0]
    assert summary.endswith("."), summary


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_documents_its_parameters_and_its_result(name):
    function = getattr(nm, name)
    text = inspect.getdoc(function)
    parameters = inspect.signature(function).parameters
    assert "\nReturns\n-------\n" in text, name
    if not parameters:
        return
    assert "\nRaises\n------\n" in text, name
    section = text.split("\nParameters\n----------\n")[1].split("\n\nReturns\n")[0]
    documented = {
        word.strip().lstrip("*")
        for line in section.splitlines()
        if line and not line.startswith(" ")
        for word in line.split(":")[0].split(",")
    }
    assert documented == set(parameters), name
    same_result = {"overwrite", "figures", "machine"}  # whatever they are
    assert len(parameters.keys() - same_result) <= 7, name


@pytest.fixture(scope="module")
def project(small_clips, tmp_path_factory) -> Path:
    """A directory with clips, orders, events, features, sounds and responses, all tiny."""
    root = tmp_path_factory.mktemp("project")
    (root / "clips").symlink_to(small_clips)
    names = sorted(path.name for path in small_clips.iterdir())
    for name in names:
        genre = root / "genres" / name.split(".")[0]
        genre.mkdir(parents=True, exist_ok=True)
        (genre / name).symlink_to(small_clips / name)
    nm.design_orders(root / "clips", out=root / "orders")
    lines = [f"{name.removesuffix('_15s.wav')}\t{name[:-9]}\t\n" for name in names]
    (root / "artists.tsv").write_text("track\tartist_group\tfault\n" + "".join(lines))
    write_features(root / "train.npz")
    write_features(root / "test.npz", 2, 1, 50)
    prepared = nm.prepare_features(
        root / "train.npz", test=root / "test.npz", out=root / "prepared_npz"
    )
    write_events(prepared.directory, root / "bids")
    table = pd.read_csv(prepared.directory / "presentations.tsv", sep="\t").assign(path=None)
    (root / "npz_lists").mkdir()
    write_lists(root / "npz_lists", dict(list(table.groupby("split"))))
    _write_sounds(root)
    _write_answers(root)
    return root


LISTENING = """
name = "listening"
files.tasks = ["listen"]
sounds.sound = "stim_file"
time.tr_s = 2.0
"""


def _write_sounds(root: Path) -> None:
    """Write twenty short sounds, responses to them that follow their loudness, and their events."""
    (root / "sounds").mkdir()
    rng = np.random.default_rng(0)
    lines = ["sound\tarea\n"]
    for number in range(20):
        wave = rng.uniform(0.2, 1) * tone_clip(number % 10, number, 2.0)
        soundfile.write(root / f"sounds/s{number:02d}.wav", wave, 22_050)
        lines.append(f"s{number:02d}\t{np.sqrt(np.mean(wave**2)):.4f}\n")
        stages = {"conv1": wave[::500, None], "conv2": wave[::1000, None] ** 2}
        (root / "features").mkdir(exist_ok=True)
        np.savez(root / f"features/s{number:02d}.npz", **stages, frame_s=0.02, first_frame_s=0.0)
    for number in range(4):
        name = f"listed_sounds/g{number % 2}/g{number % 2}.{number}.wav"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, tone_clip(number % 2, number, 2.0), 22_050)
        (root / "listed_features").mkdir(exist_ok=True)
        np.savez(
            root / f"listed_features/{Path(name).stem}.npz", frame_s=0.02, first_frame_s=0.0,
            conv1=rng.normal(size=(100, 2)), conv2=rng.normal(size=(100, 3)),
        )  # fmt: skip
    nm.make_file_lists(
        nm.Corpus("folder", root / "listed_sounds"), split="50:0:50", clip_s=1, out=root / "listed"
    )
    (root / "responses.tsv").write_text("".join(lines))
    (root / "loudness.toml").write_text('sounds = "sounds"\nresponses = "responses.tsv"\n')
    (root / "listening.toml").write_text(LISTENING)
    for run in (1, 2):
        rows = [(4 * place, 2, f"s{n:02d}.wav") for place, n in enumerate(rng.permutation(20))]
        stem = f"sub-01_task-listen_run-{run}"
        write_rows(root / "listening/sub-01/func", stem, rows, "onset duration stim_file")


def _write_answers(root: Path) -> None:
    """Write random answers of two listeners and two decoders to thirty clips."""
    (root / "behaviour").mkdir()
    rng = np.random.default_rng(0)
    truth, names = np.repeat(np.arange(10), 3), np.array(GENRES)
    tables = []
    for number in (1, 2):
        path = root / f"behaviour/CategoryJudge_sub-{number:03d}.xlsx"
        write_sheet(path, judgements(truth, rng.integers(10, size=30)))
        answers = {"y_true": names[truth], "y_pred": names[rng.integers(10, size=30)]}
        tables.append(pd.DataFrame({"subject": f"sub-{number:03d}", **answers}))
    pd.concat(tables).to_csv(root / "decoding.tsv", sep="\t", index=False)


@pytest.mark.slow
def test_the_examples_of_all_docstrings_run(project, monkeypatch, caplog):
    monkeypatch.chdir(project)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    finder = doctest.DocTestFinder(recurse=False)
    rest = [name for name in nm.__all__ if name not in FIRST]
    reports = []
    for name in (*FIRST, *rest):
        if name == "evaluate":  # the examples from here on may use a network trained on sound
            nm.train(tiny_settings(), "prepared_files", out="sound_network")
        for test in finder.find(getattr(nm, name), name, globs={}):
            result = runner.run(test, out=reports.append, clear_globs=False)
            assert result.failed == 0, "".join(reports)


@pytest.fixture
def readme_project(small_clips, tmp_path) -> Path:
    """A directory with clips and orders: two training runs of ten trials, one test run."""
    (tmp_path / "clips").symlink_to(small_clips)
    names = np.array(sorted(path.name for path in small_clips.iterdir())).reshape(10, 3)
    (tmp_path / "orders").mkdir()
    train, test = Order("train", names[:, :2]), Order("test", np.tile(names[:, 2:], (4, 1)))
    write_order(train, tmp_path / "orders/ExpTrnOrder.mat")
    write_order(test, tmp_path / "orders/ExpValOrder.mat")
    return tmp_path


def test_the_python_code_of_the_readme_runs(readme_project, monkeypatch):
    monkeypatch.chdir(readme_project)
    blocks = [block.code for block in blocks_of("README.md", "python")]
    assert blocks
    # The settings "cortex" train for 80 epochs, these for one.
    tiny = tiny_settings() | {"data": {"validation_runs": 0, "window_s": 5.0, "hop_s": 2.5}}
    assert any('nm.train("cortex", ' in block for block in blocks)
    for block in blocks:
        code = block.replace('nm.train("cortex", ', "nm.train(tiny, ")
        exec(compile(code, "README.md", "exec"), {"tiny": tiny})
