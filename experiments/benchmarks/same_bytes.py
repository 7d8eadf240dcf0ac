"""Print the SHA-256 of every file that the main commands write from fixed inputs and seeds.

Run it before and after a change that must not change any result, and compare:

    python experiments/benchmarks/same_bytes.py --out before.tsv
    python experiments/benchmarks/same_bytes.py --out after.tsv --against before.tsv

It runs the commands of the installed package in an empty directory: the demo, lists on the real
orders, tenfold preparation of eight real excerpts with every front end, a two-epoch training,
evaluation, comparison, export in every format, an encoding of a small simulated dataset and an
encoding of single sounds. Takes about six minutes on two cores.

Columns: file, sha256 and data. ``data`` is the hash of what a file holds apart from prose: of JSON
without sentences, of a picture nothing ("-"), of other files the same as sha256. Provenance
records and files that hold times or places are left out, or hashed without them. Exits with 1 if
``--against`` finds a difference; ``prose only`` means that sentences differ.
"""

import argparse
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

HERE = Path(__file__).resolve()
SHARED = Path(os.environ.get("NEUROMUSIC_SHARED", HERE.parents[3] / "shared"))
RATE_HZ = 22_050
TIMED = re.compile(r"provenance\.json$|^seconds\.csv$|^last\.ckpt$|^\.")
SECONDS = "seconds_an_epoch"  # a column of `compare`
FORMATS = "bids,spm,fsl,afni,nilearn,hdf5,npz,mat"
EXCERPTS = {"blues": range(4), "metal": range(4)}


def command(*words: object, cwd: Path) -> None:
    """Run one command to its end; stop with its output if it fails (1, a failed check, may be)."""
    line = [sys.executable, "-m", "neuromusic", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    done = subprocess.run(
        line, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    print("neuromusic", *words[:2], file=sys.stderr)
    if done.returncode:
        sys.exit(f"{' '.join(line)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")


def noise_clips(names: Iterator[str], directory: Path) -> None:
    """Write a 15-s clip of noise per genre and link it to every clip of that genre."""
    directory.mkdir()
    for name in names:
        source = directory.parent / f"{name.split('.')[0]}.wav"
        if not source.exists():
            seed = int.from_bytes(source.stem.encode(), "big")
            noise = 0.1 * np.random.default_rng(seed).standard_normal(15 * RATE_HZ)
            soundfile.write(source, noise, RATE_HZ, subtype="PCM_16")
        (directory / name).hardlink_to(source)


def clip_names() -> Iterator[str]:
    """Yield the names of the 540 clips of the real orders, from the events."""
    found = set()
    for path in sorted((SHARED / "data/ds003720").rglob("*_events.tsv")):
        head, *rows = path.read_text("utf-8").splitlines()
        columns = head.split("\t")
        for row in rows:
            cells = dict(zip(columns, row.split("\t"), strict=True))
            track = float(cells["track"].strip("'"))
            found.add(f"{cells['genre'].strip(chr(39))}.{round(track):05d}_15s.wav")
    yield from sorted(found)


def run_lines(lines: str, cwd: Path, **names: object) -> None:
    """Run commands, one per line; ``{name}`` is replaced."""
    for line in lines.strip().splitlines():
        command(*(word.format(**names) for word in line.split()), cwd=cwd)


SETTINGS = """
data = { window_s = 5.0, hop_s = 2.5, windows_per_epoch = 64, validation_runs = 1 }
model = { name = "cortex-z", options = { size = "tiny" } }
train = { epochs = 2, batch_size = 16, seed = 3 }
augment = { mixup = 0.3 }
"""
DEMO = """
demo --workers 2
train two-epochs.toml --prepared {demo}/prepared --out two
evaluate two
crossval two-epochs.toml --prepared {demo}/prepared --folds 3 --out cv
compare two {demo}/run --out compared
export two --lists {demo}/run_dataset --out export --components 3 --format {formats}
export two --lists {demo}/run_dataset --out lanczos --format npz --binning lanczos --components all --stages GRU
fmri simulate {demo}/run --voxels 6 --noise-voxels 6 --ceiling 0.3:0.6 --subjects 2 --out simulated
encode {demo}/run --bids simulated --roi all --atlas {truth}/areas.nii.gz --labels {truth}/areas.tsv --components 10 --banded --out encoded
"""  # noqa: E501
REAL = """
lists {orders} --link sym --out real_lists
lists {orders} --link sym --drop-leaks artist --artists {shared}/gtzan/artists.tsv --out clean_lists
lists --from-folder excerpts --split 2:1:1 --seed 1 --link sym --out excerpt_lists
prepare excerpt_lists --seed 2 --workers 2 --front-end logmel --waves --out prepared_logmel
prepare excerpt_lists --seed 2 --workers 2 --front-end cochleagram --out prepared_cochleagram
prepare excerpt_lists --seed 2 --workers 2 --front-end modulation --out prepared_modulation
prepare excerpt_lists --seed 2 --workers 2 --front-end scattering --out prepared_scattering
augment excerpt_lists --seed 2 --workers 1
encode neuromusic-demo/run --sounds {shared}/natsound165/wav --responses {shared}/natsound165/components.mat --splits 2 --out sound_encoding
"""  # noqa: E501


def run_demo(cwd: Path) -> None:
    """Run the demo, and every command that reads its trained network."""
    (cwd / "two-epochs.toml").write_text(SETTINGS)
    demo = "neuromusic-demo"
    run_lines(DEMO, cwd, demo=demo, formats=FORMATS, truth="simulated/derivatives/truth")
    clips = sorted((cwd / demo / "clips").glob("*.wav"))
    command("predict", f"{demo}/run", *clips[:5], "--out", "predicted.tsv", cwd=cwd)
    (cwd / "few").mkdir()
    for clip in clips[::12]:
        (cwd / "few" / clip.name).hardlink_to(clip)
    similar = ("--clip", clips[0], "--among", "few", "-k", 3, "--out", "similar.tsv")
    command("similar", f"{demo}/run", *similar, cwd=cwd)


def run_real(cwd: Path) -> None:
    """Run the steps that need the real orders, excerpts and responses."""
    data = SHARED / "data"
    noise_clips(clip_names(), cwd / "clips540")
    for genre, numbers in EXCERPTS.items():
        (cwd / "excerpts" / genre).mkdir(parents=True)
        for number in numbers:
            name = f"{genre}/{genre}.{number:05d}.wav"
            (cwd / "excerpts" / name).symlink_to(data / "gtzan/genres" / name)
    for line in REAL.strip().splitlines():
        orders = (
            f"--train-order {data}/orders/ExpTrnOrder.mat --test-order "
            f"{data}/orders/ExpValOrder.mat --clips clips540"
        )
        run_lines(line.format(orders=orders, shared=data), cwd)


def without_prose(value: object) -> object:
    """Return JSON without its sentences: texts of four words or more."""
    if isinstance(value, dict):
        return {key: without_prose(item) for key, item in value.items() if key != SECONDS}
    if isinstance(value, list):
        return [without_prose(item) for item in value]
    return "" if isinstance(value, str) and len(value.split()) > 3 else value


def hashes(path: Path, root: Path) -> tuple[str, str]:
    """Return the hash of a file without places and times, and that of its data."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":  # its header names the place of the prepared set
        size = int.from_bytes(content[:8], "little")
        head = json.loads(content[8 : 8 + size])
        about = json.loads(head["__metadata__"].pop("neuromusic"))
        about.pop("prepared")
        head["about"] = about
        content = json.dumps(head, sort_keys=True).encode() + content[8 + size :]
    elif path.name.startswith("index-"):  # with absolute paths, and the hash of weights with theirs
        with np.load(path) as arrays:
            content = b"".join(arrays[name].tobytes() for name in ("sha256", "vectors"))
    elif path.suffix == ".tsv" and SECONDS.encode() in content.partition(b"\n")[0]:
        content = pd.read_csv(path, sep="\t").drop(columns=SECONDS).to_csv().encode()
    elif path.suffix == ".mat":
        content = content[124:]  # the text of the header holds the time
    elif path.suffix == ".gz" and not path.name.endswith(".nii.gz"):
        content = gzip.decompress(content)
    content = content.replace(str(root).encode(), b"").replace(str(SHARED).encode(), b"")
    whole = data = hashlib.sha256(content).hexdigest()
    if path.suffix == ".json":
        bare = json.dumps(without_prose(json.loads(content)), sort_keys=True)
        data = hashlib.sha256(bare.encode()).hexdigest()
        whole = data if SECONDS.encode() in content else whole
    elif path.suffix in (".png", ".md") or path.name == "README":
        data = "-"
    return whole, data


def table_of(root: Path) -> dict[str, tuple[str, str]]:
    """Return file -> its two hashes."""
    paths = (Path(where, name) for where, _, names in os.walk(root) for name in names)
    found = {}
    for path in sorted(paths):
        if not TIMED.search(path.name) and "clips540" not in path.parts:
            found[path.relative_to(root).as_posix()] = hashes(path, root)
    return found


def differences(old: dict[str, tuple[str, str]], new: dict[str, tuple[str, str]]) -> list[str]:
    """Return one line per file that differs, is missing or is new."""
    lines = []
    for name in sorted(old | new):
        if name not in new:
            lines.append(f"missing\t{name}")
        elif name not in old:
            lines.append(f"new\t{name}")
        elif old[name] != new[name]:
            kind = "prose only" if old[name][1] == new[name][1] else "data differ"
            lines.append(f"{kind}\t{name}")
    return lines


def main() -> None:
    """Run everything, write or print the table, and compare it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="table to write; stdout without it")
    parser.add_argument("--against", type=Path, help="an earlier table to compare with")
    parser.add_argument("--keep", type=Path, help="directory to work in and to keep")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = (arguments.keep or Path(place)).resolve()
        root.mkdir(parents=True, exist_ok=True)
        run_demo(root)
        if (SHARED / "data").is_dir():
            run_real(root)
        else:
            print(f"{SHARED}: no real data; only the demo was run", file=sys.stderr)
        found = table_of(root)
    lines = ["file\tsha256\tdata", *("\t".join((name, *both)) for name, both in found.items())]
    text = "\n".join(lines) + "\n"
    if arguments.out:
        arguments.out.write_text(text, "utf-8")
    else:
        print(text, end="")
    if arguments.against:
        rows = [line.split("\t") for line in arguments.against.read_text("utf-8").splitlines()[1:]]
        lines = differences({name: (whole, data) for name, whole, data in rows}, found)
        print("\n".join(lines) or "no difference", file=sys.stderr)
        sys.exit(bool(lines))


if __name__ == "__main__":
    main()
