"""The tenfold preparation beside the predecessors' procedure, on the same clips in the same run.

The procedure: for each clip librosa.load; nine variants by librosa (harmonic and percussive part,
pitch shift, two time stretches, interpolation, noise, roll, gain); ten wav files written; each
loaded again; STFT and mel. One process, as they had it; it is timed on a part of the clips, half of
it before and half of it after ours, and scaled to all of them. Ours is the command `neuromusic
prepare`, from its start to its end, in one process, in two, and on a GPU where there is one.

On a machine whose speed wanders, take several rounds: each of them times all ways, and the table
has the median of every figure.

  python experiments/benchmarks/prepare.py
  python experiments/benchmarks/prepare.py --rounds 3
  python experiments/benchmarks/prepare.py --linear     # 10, 100 and 1 000 clips besides
  python experiments/benchmarks/prepare.py --quick
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np

RATE_HZ = 22_050
DIFFERENT = 4  # sounds a genre; the other clips are copies, whose variants differ all the same
TARGETS = {
    "ratio_1": 12.0, "ratio_2": 25.0, "ratio_gpu": 200.0, "two_to_one": 1.8, "peak_mb_2": 1000.0,
}  # fmt: skip
MOST = ("peak_mb_2",)


def make_lists(root: Path, n: int) -> Path:
    """Write n training clips (and a test clip a genre) of synthetic music, and their lists."""
    from neuromusic.pipeline.lists import make_file_lists
    from neuromusic.stimuli import audio, synthetic
    from neuromusic.stimuli.corpora import folder

    tree = root / f"clips{n}"
    a_genre = -(-n // len(synthetic.FAMILIES))
    for genre in synthetic.FAMILIES:
        (tree / genre).mkdir(parents=True)
        for number in range(a_genre + 1):
            path = tree / genre / synthetic.clip_name(genre, number)
            if number < DIFFERENT:
                audio.write(path, synthetic.make_clip(genre, number, 0))
            else:
                shutil.copy(tree / genre / synthetic.clip_name(genre, number % DIFFERENT), path)
    files = folder.table(tree)
    return make_file_lists(
        files, f"{a_genre}:0:1", 0, 15.0, root / f"lists{n}", "hard", lambda text: None
    )


def baseline(files: list[Path]) -> list[float]:
    """Return the seconds that the predecessors' procedure takes for each clip."""
    import librosa
    import soundfile

    from neuromusic.features import augment

    taken = []
    with tempfile.TemporaryDirectory() as place:
        for path in files:
            drawn = [augment.draw(0, path.name, variant) for variant in range(10)]
            start = time.perf_counter()
            wave, _ = librosa.load(path, sr=RATE_HZ)
            noise = np.random.default_rng(0).standard_normal(len(wave))
            harmonic, percussive = librosa.effects.hpss(wave)
            low = librosa.resample(wave, orig_sr=RATE_HZ, target_sr=drawn[6]["rate_hz"])
            variants = [
                wave,
                wave + 0.01 * noise,
                np.roll(wave, round(drawn[2]["shift"] * len(wave))),
                librosa.effects.time_stretch(wave, rate=drawn[3]["rate"]),
                librosa.effects.pitch_shift(wave, sr=RATE_HZ, n_steps=drawn[4]["pitch_semitones"]),
                librosa.effects.time_stretch(wave, rate=drawn[5]["rate"]),
                librosa.resample(low, orig_sr=drawn[6]["rate_hz"], target_sr=RATE_HZ),
                wave * 10 ** (drawn[7]["gain_db"] / 20),
                percussive,
                harmonic,
            ]
            for index, variant in enumerate(variants):
                soundfile.write(Path(place) / f"{index}.wav", variant, RATE_HZ)
            for index in range(len(variants)):
                again, _ = librosa.load(Path(place) / f"{index}.wav", sr=RATE_HZ)
                mel = librosa.feature.melspectrogram(
                    y=again, sr=RATE_HZ, n_fft=1024, hop_length=512, n_mels=128
                )
                librosa.power_to_db(mel)
            taken.append(time.perf_counter() - start)
    return taken


def baseline_apart(files: list[Path]) -> list[float]:
    """Return what `baseline` returns, from a process of its own that has warmed up."""
    done = subprocess.run(
        [sys.executable, __file__, "--baseline", *map(str, [files[0], *files])],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return list(json.loads(done.stdout)[1:])


def ours(lists: Path, out: Path, *more: str) -> common.Measured:
    """Return what the command takes."""
    command = [sys.executable, "-m", "neuromusic", "prepare", lists, "--out", out, *more]
    measured = common.measure(command)
    shutil.rmtree(out)
    return measured


def one_round(
    lists: Path, files: list[Path], runs: dict[str, list[str]], n_clips: int
) -> dict[str, float]:
    """Return seconds, memory and ratios of every way once."""
    half = len(files) // 2
    seconds = baseline_apart(files[:half])
    measured = {name: ours(lists, lists.parent / "out", *more) for name, more in runs.items()}
    seconds += baseline_apart(files[half:])
    whole_s = float(np.median(seconds)) * n_clips
    result = {
        "baseline_clip_s": whole_s / n_clips,
        "baseline_clip_least_s": min(seconds),
        "baseline_clip_most_s": max(seconds),
        "baseline_s": whole_s,
    }
    for name, each in measured.items():
        result[f"seconds_{name}"] = each.seconds
        result[f"cpu_seconds_{name}"] = each.cpu_seconds
        result[f"peak_mb_{name}"] = each.peak_mb
        result[f"ratio_{name}"] = whole_s / each.seconds
    result["two_to_one"] = measured["1"].seconds / measured["2"].seconds
    return result


def main() -> None:
    """Time it and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=480)
    parser.add_argument("--sample", type=int, default=24, help="clips of the baseline (24)")
    parser.add_argument("--rounds", type=int, default=1, help="of all ways (1)")
    parser.add_argument("--linear", action="store_true", help="10, 100 and 1 000 clips too")
    parser.add_argument("--quick", action="store_true", help="a minute: does it run at all?")
    parser.add_argument("--out", type=Path, default=Path("prepare.json"))
    parser.add_argument("--baseline", type=Path, nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.baseline:
        print(json.dumps(baseline(given.baseline)))
        return
    if given.quick:
        given.clips, given.sample = 20, 2
    result: dict[str, object] = {"clips": given.clips, "variants": 10}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        lists = make_lists(root, given.clips)
        files = sorted((root / f"clips{given.clips}").rglob("*.wav"))
        files = files[:: len(files) // given.sample][: given.sample]
        runs = {
            "1": ["--workers", "1", "--device", "cpu"],
            "2": ["--workers", "2", "--device", "cpu"],
        }
        if common.hardware()["gpu"]:
            runs["gpu"] = ["--device", "cuda"]
        rounds = [one_round(lists, files, runs, given.clips) for _ in range(given.rounds)]
        result |= {key: float(np.median([each[key] for each in rounds])) for key in rounds[0]}
        for key in rounds[0]:
            if key.startswith("ratio") or key == "two_to_one":
                result[f"{key}_rounds"] = ", ".join(f"{each[key]:.1f}" for each in rounds)
        if given.linear:
            for n in (10, 100, 1000):
                each = ours(make_lists(root, n), root / "out", "--workers", "2", "--device", "cpu")
                result[f"linear_{n}_s"] = each.seconds
                result[f"linear_{n}_peak_mb"] = each.peak_mb
                shutil.rmtree(root / f"clips{n}")
    least = {key: value for key, value in TARGETS.items() if key not in MOST}
    common.report(result, {key: TARGETS[key] for key in MOST}, given.out)
    for key, value in least.items():
        if key in result:
            met = "met" if float(str(result[key])) >= value else "NOT MET"
            print(f"{key}: {result[key]:.1f}, target at least {value:g}: {met}")


if __name__ == "__main__":
    main()
