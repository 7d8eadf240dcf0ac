"""The BIDS App as real processes: participants at once, killed, missing; the group; bad input."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from bids_validator import validate
from commands import begin, stop_all, wait_until
from conftest import RATE_HZ, tiny_settings, tone_clip
from helpers import neuromusic, write_features

import neuromusic as nm
from neuromusic.cli.bids_app import _with_joined_labels
from neuromusic.core.errors import InputError
from neuromusic.core.outputs import locked
from neuromusic.design.orders import EXPERIMENT
from neuromusic.design.presentations import load_design
from neuromusic.encoding.area_results import StoredSubject
from neuromusic.pipeline import bids_app, bids_validation

ROOT = Path(__file__).parents[2]
LABELS = ("A", "B")
SAME = ("areas", "contrasts", "group", "similarity", "unique")  # tables of a group


@pytest.fixture(scope="module")
def place(tiny_run, tiny_bids, tmp_path_factory):
    """A tiny network, and simulated images of two participants who heard the same."""
    root = tmp_path_factory.mktemp("app")
    for label in LABELS:
        folder = root / f"events/sub-{label}/func"
        folder.mkdir(parents=True)
        for path in tiny_bids.glob("sub-A/func/*"):
            shutil.copy(path, folder / path.name.replace("sub-A", f"sub-{label}"))
    (root / "run").symlink_to(tiny_run.directory)
    planted = nm.Planted(voxels=5, noise_voxels=5)
    nm.simulate(tiny_run, bids=root / "events", planted=planted, out=root / "data")
    return root


def line(out, level, *more, bids="data"):
    """Return the arguments of the app for the simulated images."""
    return [
        "neuromusic-bids", bids, str(out), level, "--skip-bids-validation", "--roi", "all",
        "--atlas", "data/derivatives/truth/areas.nii.gz", "--components", "4", *more,
    ]  # fmt: skip


def participant(out, *more):
    return line(out, "participant", "--network", "run", *more)


def run(place, words):
    return neuromusic(*words, cwd=place)


def files_of(out):
    """Return path -> SHA-256 of a derivative's files, but pages and the record that name it."""
    names = {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*"))}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if path.is_file() and name != "group/provenance.json" and path.suffix != ".html"
    }


@pytest.fixture(scope="module")
def serial(place):
    """The derivative of one process after another: the participants, then the group."""
    for words in (participant("serial", "--participant-label", *LABELS), line("serial", "group")):
        result = run(place, words)
        assert result.returncode == 0, result.stderr
    return place / "serial"


@pytest.mark.slow
def test_participants_in_parallel_give_the_same_bytes(place, serial, tmp_path):
    """Two processes with the same command share the participants; one has a work folder."""
    out = place / "parallel"
    commands = [participant(out), participant(out, "-w", str(tmp_path / "work"))]
    processes = []
    for number, words in enumerate(commands):
        (tmp_path / str(number)).mkdir()
        processes.append(begin(place, words, tmp_path / str(number)))
    try:
        assert [process.wait(550) for process in processes] == [0, 0]
    finally:
        for process in processes:
            stop_all(process.pid)
    outputs = [(tmp_path / str(number) / "stdout.txt").read_text() for number in range(2)]
    wrote = [text.count(": maps, tables and figures of") for text in outputs]
    assert sum(wrote) == 2, outputs
    result = run(place, line(out, "group"))
    assert result.returncode == 0, result.stderr
    assert files_of(out) == files_of(serial)
    assert not list(out.glob(".sub*"))
    assert not list(tmp_path.glob("work/sub-*"))  # only the activations stay


@pytest.mark.slow
def test_the_group_is_that_of_one_encoding_of_all(place, serial):
    """All participants heard the same, so `encode` of all together has the same components."""
    result = neuromusic(
        "encode", "run", "--bids", "data", "--roi", "all", "--atlas",
        "data/derivatives/truth/areas.nii.gz", "--components", "4", "--out", "joint", cwd=place,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    joint = place / "joint"
    for name in SAME:
        assert (serial / f"group/{name}.tsv").read_bytes() == (joint / f"{name}.tsv").read_bytes()
    for path in joint.glob("sub-*/**/*"):
        if path.is_file():
            own = serial / path.relative_to(joint)
            assert own.read_bytes() == path.read_bytes(), path
    for path in (joint / "figures").iterdir():
        assert (serial / "group/figures" / path.name).read_bytes() == path.read_bytes(), path
    about = json.loads((serial / "group/encoding.json").read_text())
    expected = json.loads((joint / "encoding.json").read_text())
    assert about == {"Participants": list(LABELS)} | expected
    group = pd.read_csv(serial / "group/group.tsv", sep="\t")
    assert group["p_t"].notna().any()


@pytest.mark.slow
def test_the_output_is_a_derivative_that_names_its_source(place, serial):
    about = json.loads((serial / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"] == [{"Name": "neuromusic", "Version": nm.__version__}]
    [source] = about["SourceDatasets"]
    assert source == {"URL": "bids:raw:"}
    assert (serial / about["DatasetLinks"]["raw"]).resolve() == (place / "data").resolve()
    assert validate(serial) == {"error": set(), "warning": set()}


def test_the_doi_of_the_dataset_is_cited(tmp_path):
    doi = "10.18112/openneuro.ds003720.v1.0.0"
    for stated in (f"doi:{doi}", f"https://doi.org/{doi}", doi):
        (tmp_path / "dataset_description.json").write_text(json.dumps({"DatasetDOI": stated}))
        about = bids_app._sources(tmp_path, tmp_path / "derivatives/neuromusic")
        assert about == {
            "SourceDatasets": [{"DOI": stated, "URL": f"https://doi.org/{doi}"}],
            "DatasetLinks": {"raw": "../.."},
        }


@pytest.mark.slow
def test_each_participant_and_the_group_have_a_page(serial):
    names = {path.name for path in serial.glob("*.html")}
    assert names == {"sub-A.html", "sub-B.html", "group.html"}
    page = (serial / "sub-A.html").read_text()
    assert "reduced to 4 principal components" in page
    assert "Maps of the brain of sub-A" in page or "No maps were drawn" in page
    group = (serial / "group.html").read_text()
    assert "Tests over 2 subjects" in group
    assert "reduced to 4 principal components" in group
    assert "not in the page" not in page + group


@pytest.mark.slow
def test_what_is_done_is_skipped(place, serial):
    before = {path: path.stat().st_mtime_ns for path in serial.glob("sub-*/**/*")}
    result = run(place, participant(serial))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("is up to date") == 2
    assert "2 of 2 participants done" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in serial.glob("sub-*/**/*")} == before
    assert "is up to date" in run(place, line(serial, "group")).stdout


def test_a_participant_of_another_process_is_left_to_it(place, tmp_path):
    out = tmp_path / "out"
    with locked(out / "sub-A-claim"):
        result = run(place, participant(out, "--participant_label", "sub-A"))
    assert result.returncode == 0, result.stderr
    assert "0 of 1 participant done; another process is encoding sub-A" in result.stdout
    assert not list(out.glob("sub-*")) and not list(out.glob(".sub*"))


@pytest.mark.slow
def test_a_killed_participant_continues_and_gives_the_same_bytes(place, serial, tmp_path):
    out = tmp_path / "killed"
    words = participant(out, "--participant-label", "A")
    process = begin(place, words, tmp_path)
    try:
        series = out / ".sub-A.partial/work/A"
        assert wait_until(lambda: series.is_dir() or process.code() is not None, 60)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finally:
        stop_all(process.pid)
    assert not (out / "sub-A").exists()
    assert (out / ".sub-A.partial").is_dir()
    result = run(place, line(out, "group", "--participant-label", "A"))
    assert result.returncode == 2
    assert "sub-A (not finished)" in result.stderr
    assert run(place, words).returncode == 0
    for name, digest in files_of(out / "sub-A").items():
        assert files_of(serial / "sub-A")[name] == digest, name
    assert not list(out.glob(".sub*"))


# --- Bad input ------------------------------------------------------------------------------------


def refused(result, *texts):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    for text in texts:
        assert text in result.stderr


@pytest.mark.slow
def test_a_group_with_missing_participants_names_them(place, serial, tmp_path):
    out = shutil.copytree(serial, tmp_path / "out")
    for name in ("sub-B", "group"):
        shutil.rmtree(out / name)
    refused(run(place, line(out, "group")), "has no encoding of 1 of the 2 participants: sub-B")
    assert not (out / "group").exists()
    one = run(place, line(out, "group", "--participant-label", "A"))
    assert one.returncode == 0, one.stderr


@pytest.mark.slow
@pytest.mark.parametrize("level", ["participant", "group"])
def test_an_unknown_participant_is_named(place, serial, level, tmp_path):
    more = ("--network", "run") if level == "participant" else ()
    out = tmp_path / "out" if level == "participant" else serial
    result = run(place, line(out, level, *more, "--participant-label", "A", "D"))
    refused(result, "has no events of sub-D; its participants are A, B")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["data", "data/out", "data/derivatives", "."])
def test_an_output_among_the_inputs_is_refused(place, out):
    before = sorted(place.rglob("*"))
    result = run(place, participant(out))
    refused(result, "would be mixed with the dataset data", "data/derivatives/neuromusic")
    assert sorted(place.rglob("*")) == before


@pytest.mark.slow
def test_work_among_inputs_or_outputs_and_other_outputs_are_refused(place, serial, tmp_path):
    for work in ("data", "data/work", str(serial), str(serial / "work")):
        refused(run(place, participant(serial, "-w", work)), "files would be mixed with")
    (tmp_path / "thesis.txt").write_text("years")
    refused(run(place, participant(tmp_path)), "something else than an output of neuromusic-bids")
    refused(run(place, line("new", "participant")), "--network is needed")
    assert not (place / "new").exists()


def test_a_derivative_in_the_dataset_is_allowed(tmp_path):
    bids = nm.Dataset(tmp_path)
    bids_app._check_places(bids_app.App(bids, tmp_path / "derivatives/neuromusic"))
    with pytest.raises(InputError, match="would be mixed"):
        bids_app._check_places(bids_app.App(bids, tmp_path / "derivatives"))


def test_all_participants_with_bad_images_are_named_before_the_work(place, tmp_path):
    data = shutil.copytree(place / "data", tmp_path / "data")
    for label in LABELS:
        for path in data.glob(f"sub-{label}/func/*_bold.nii.gz"):
            path.unlink()
    words = participant(tmp_path / "out")
    words[1] = str(data)
    result = run(place, words)
    refused(result, "2 of 2 participants cannot be encoded", "images of sub-A", "images of sub-B")
    assert "computing activations" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_group_with_other_settings_or_another_network_is_refused(place, serial, tmp_path):
    words = line(serial, "group")
    words[words.index("4")] = "3"
    refused(run(place, words), "sub-A: was encoded with other settings", "components was 4, now 3")
    other = shutil.copytree(place / "run", tmp_path / "other")
    weights = other / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused(run(place, line(serial, "group", "--network", str(other))), "network has changed")
    assert run(place, line(serial, "group", "--network", "run")).returncode == 0


@pytest.mark.slow
def test_participants_that_were_encoded_differently_are_not_joined(serial, tmp_path):
    out = shutil.copytree(serial, tmp_path / "out")
    path = out / "sub-B/provenance.json"
    record = json.loads(path.read_text())
    record["settings"]["options"]["components"] = 3
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"sub-B: .*another way than sub-A \(.*components was 4"):
        nm.encode_group(out, out=tmp_path / "group")
    assert not (tmp_path / "group").exists()
    for label in LABELS:
        (out / f"sub-{label}/provenance.json").unlink()
    with pytest.raises(InputError, match="has no encodings of participants"):
        nm.encode_group(out, out=tmp_path / "group")


# --- The validator --------------------------------------------------------------------------------


def test_an_invalid_dataset_is_refused_unless_validation_is_skipped(place, tmp_path):
    assert validate(place / "data")["error"] == set()
    data = shutil.copytree(place / "data", tmp_path / "data")
    (data / "sub-A/func/thesis.txt").write_text("years")
    words = participant(tmp_path / "out", "--participant-label", "B")
    words[1] = str(data)
    words.remove("--skip-bids-validation")
    result = run(place, words)
    refused(result, "the BIDS validator found 1 error: NOT_INCLUDED (sub-A/func/thesis.txt)")
    assert "continue with --skip-bids-validation" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_validator_is_said_in_one_line(place, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(bids_validation, "PROGRAMS", ("no-such-validator",))
    bids_validation.check_valid(place / "data")
    [message] = caplog.messages
    assert "is not installed" in message and "was not validated" in message


# --- Parts ----------------------------------------------------------------------------------------


def test_help_has_an_example_and_the_version_is_that_of_the_package(tmp_path):
    text = neuromusic("neuromusic-bids", "--help", cwd=tmp_path)
    assert text.returncode == 0
    assert "neuromusic-bids ds003720 out participant" in text.stdout
    version = neuromusic("neuromusic-bids", "--version", cwd=tmp_path)
    assert version.stdout == f"neuromusic-bids, version {nm.__version__}\n"


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        ("b o group --participant-label 01 02 -w w", "b o group --participant-label 01,02 -w w"),
        ("b o group --participant_label sub-1", "b o group --participant-label sub-1"),
        ("b o group --participant-label=01 --ses x", "b o group --participant-label=01 --ses x"),
        ("b o group --participant-label -w w", "b o group --participant-label -w w"),
    ],
)
def test_labels_may_be_separated_by_spaces(given, joined):
    assert _with_joined_labels(given.split()) == joined.split()


@pytest.mark.slow
def test_stored_results_are_read_as_they_were_written(serial, tmp_path):
    path = serial / "sub-B/sub-B_results.npz"
    stored = StoredSubject.load(path)
    stored.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    areas = pd.read_csv(serial / "sub-B/areas.tsv", sep="\t")
    np.testing.assert_allclose(stored.results.areas["r"], areas["r"], rtol=1e-5)
    content = path.read_bytes()
    for number, damaged in enumerate((content[: len(content) // 2], b"", b"PK")):
        broken = tmp_path / f"{number}.npz"
        broken.write_bytes(damaged)
        with pytest.raises(InputError, match=f"{number}.npz"):
            StoredSubject.load(broken)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match=r"other\.npz: is not the results of a subject"):
        StoredSubject.load(tmp_path / "other.npz")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sub-B", "group"])
def test_what_the_app_wrote_can_be_repeated(place, serial, name):
    again = neuromusic("verify", serial / name, "--rerun", cwd=place)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "are identical" in again.stdout


# --- Examples -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path):
    """Those with simulated images, and the demo before them."""
    text = (ROOT / "docs/how-to/bids_app.md").read_text("utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    lines = "".join(blocks).splitlines()
    lines = [line for line in lines if "simulated" in line or " demo --out " in line]
    assert len(lines) == 7
    background = []
    for each in lines:
        program, *words = shlex.split(each.removesuffix("&"))
        words = [program, *words] if program == "neuromusic-bids" else words
        if each.endswith("&"):
            (tmp_path / "logs").mkdir()
            background.append(begin(tmp_path, words, tmp_path / "logs"))
            continue
        if words[3:4] == ["group"]:
            assert [process.wait() for process in background] == [0] * len(background)
        result = neuromusic(*words, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    both = (files_of(tmp_path / name) for name in ("out", "parallel"))
    assert next(both) == next(both)


SBATCH = """#!/bin/bash
# Stands for SLURM: runs the tasks of a job one after the other, and prints its number.
echo "$@" >> sbatch.txt
while [[ "$1" == --* ]]; do [[ "$1" == --array=* ]] && array=${1#--array=}; shift; done
export SLURM_JOB_ID=7 SLURM_CPUS_PER_TASK=1
tasks=${array:+$(seq ${array/-/ })}
for task in ${tasks:-none}; do
    export SLURM_ARRAY_TASK_ID=$task
    bash "$@" >> jobs.txt 2>&1 || exit 1
done
echo "7;cluster"
"""


@pytest.mark.slow
def test_the_slurm_script_encodes_each_participant_and_then_the_group(place, serial, tmp_path):
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", '#!/bin/bash\nexec "$@"\n')):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "run").symlink_to(place / "run")
    (tmp_path / "data").symlink_to(place / "data")
    path = f"{tmp_path / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}"
    environment = {**os.environ, "PATH": path + os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    words = line("out", "x")[5:]  # the options
    done = subprocess.run(
        ["bash", ROOT / "experiments/slurm/bids_app.sbatch", "data", "out", "work",
         "--network", "run", *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    log = (tmp_path / "jobs.txt").read_text() if (tmp_path / "jobs.txt").exists() else ""
    assert done.returncode == 0, done.stderr + log
    assert "submitted 2 participants as job 7" in done.stdout
    first, second = (tmp_path / "sbatch.txt").read_text().splitlines()
    assert "--array=0-1 " in first and "--level participant sub-A sub-B data" in first
    assert "--dependency=afterok:7 " in second and "--level group" in second
    expected = {name: digest for name, digest in files_of(serial).items() if _is_result(name)}
    found = files_of(tmp_path / "out")
    assert {name: found[name] for name in expected} == expected


def _is_result(name):
    """Return whether a file depends on neither the working directory nor the place of the data."""
    return not name.endswith(("provenance.json", "dataset_description.json"))


# --- Two datasets ---------------------------------------------------------------------------------


def app_on(bids, out, network, labels, *more):
    """Run both levels on a dataset, with its validation, and return the derivative."""
    common = [
        "--participant-label", *labels, "--roi", "all", "--atlas",
        bids / "derivatives/truth/areas.nii.gz", "--components", "5", *more,
    ]  # fmt: skip
    for level, net in (("participant", ("--network", network)), ("group", ())):
        result = neuromusic("neuromusic-bids", bids, out, level, *common, *net, cwd=bids.parent)
        assert result.returncode == 0, result.stderr
        if level == "participant":
            assert "is a valid BIDS dataset" in result.stdout
    return out


def check_derivative(out, labels):
    assert validate(out) == {"error": set(), "warning": set()}
    group = pd.read_csv(out / "group/group.tsv", sep="\t")
    assert set(group["n_subjects"]) == {len(labels)}
    for label in labels:
        assert list((out / f"sub-{label}/func").glob("*_statmap.nii.gz"))


@pytest.mark.slow
def test_simulated_ds003720_gives_a_valid_derivative(shared, tmp_path):
    """The real events of two participants: 18 runs of 410 volumes, 540 clips."""
    labels = ("001", "002")
    for label in labels:
        folder = tmp_path / f"events/sub-{label}/func"
        folder.mkdir(parents=True)
        for path in shared.glob(f"data/ds003720/sub-{label}/func/*_events.tsv"):
            shutil.copy(path, folder)
    played = load_design(tmp_path / "events", EXPERIMENT).of_subject("001").table()
    for split in ("train", "test"):
        of_split = played[(played["split"] == split) & ~played["is_dummy"]]
        rows = of_split.drop_duplicates("clip")
        source = write_features(tmp_path / "some.npz", len(rows) // 10)
        content = dict(np.load(source))
        arrays = {"clip": rows["clip"], "genre": rows["class"], "run": rows["run"]}
        content |= {name: values.to_numpy(content[name].dtype) for name, values in arrays.items()}
        np.savez(tmp_path / f"{split}.npz", **content | {"trial": rows["trial"].to_numpy()})
    prepared = nm.prepare_features(
        tmp_path / "train.npz", test=tmp_path / "test.npz", out=tmp_path / "prepared"
    )
    network = nm.train(tiny_settings(), prepared, out=tmp_path / "run")
    planted = nm.Planted(voxels=5, noise_voxels=5)
    data = nm.simulate(network, bids=tmp_path / "events", planted=planted, out=tmp_path / "data")
    check_derivative(app_on(data, tmp_path / "out", network.directory, labels), labels)


@pytest.mark.slow
def test_simulated_ds000113_gives_a_valid_derivative(shared, sound_run, tmp_path):
    """A described experiment with sessions: two participants, one of whom lacks four runs."""
    labels = ("01", "20")
    for label in labels:
        shutil.copytree(shared / f"data/ds000113/sub-{label}", tmp_path / f"events/sub-{label}")
    for path in (shared / "data/ds000113").glob("*.json"):
        shutil.copy(path, tmp_path / "events")
    (tmp_path / "sounds").mkdir()
    tables = [pd.read_csv(path, sep="\t") for path in tmp_path.rglob("*_events.tsv")]
    for number, name in enumerate(sorted({name for each in tables for name in each["stim"]})):
        wave = tone_clip(number // 5, number, 6.0)
        soundfile.write(tmp_path / "sounds" / name, wave, RATE_HZ, subtype="PCM_16")
    nm.inspect_experiment(tmp_path / "events", out=tmp_path / "experiment.toml")
    dataset = nm.Dataset(tmp_path / "events", tmp_path / "experiment.toml", tmp_path / "sounds")
    planted = nm.Planted(stages=("A1", "belt"), voxels=5, noise_voxels=5)
    data = nm.simulate(sound_run, bids=dataset, planted=planted, out=tmp_path / "data")
    out = app_on(
        data, tmp_path / "out", sound_run.directory, labels, "--sounds", tmp_path / "sounds"
    )  # fmt: skip
    check_derivative(out, labels)
