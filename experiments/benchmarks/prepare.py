"""Benchmark of `prepare` with ten variants against the predecessors' procedure, on the same clips.

Their procedure loads each clip with librosa, computes nine variants (harmonic and percussive part,
pitch shift, two time stretches, interpolation, noise, roll, gain), writes ten wav files, loads each
of them again, and computes its STFT and mel spectrogram. It uses one process, as the original did.
It is timed on a sample of the clips, half of it before our measurements and half after them, and
scaled to all clips. Ours is the whole command `neuromusic prepare` with one process, with two, and
on a GPU if there is one.

On a machine whose speed varies, use several rounds: each round repeats all measurements, and the
table contains the median of every number.

  python experiments/benchmarks/prepare.py
  python experiments/benchmarks/prepare.py --rounds 3
  python experiments/benchmarks/prepare.py --linear     # also 10, 100 and 1 000 clips
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
SOUNDS_PER_GENRE = 4  # the other clips are copies, but their variants differ
TARGETS = {
    "ratio_1": 12.0, "ratio_2": 25.0, "ratio_gpu": 200.0, "two_to_one": 1.8, "peak_mb_2": 1000.0,
}  # fmt: skip
UPPER_LIMITS = ("peak_mb_2",)


def make_lists(root: Path, n: int) -> Path:
    """Write n training clips (and one test clip per genre) of synthetic music, and their lists."""
    from neuromusic.pipeline.lists import make_file_lists
    from neuromusic.stimuli import audio, synthetic
    from neuromusic.stimuli.corpora import Corpus

    tree = root / f"clips{n}"
    per_genre = -(-n // len(synthetic.FAMILIES))
    for genre in synthetic.FAMILIES:
        (tree / genre).mkdir(parents=True)
        for number in range(per_genre + 1):
            path = tree / genre / synthetic.clip_name(genre, number)
            if number < SOUNDS_PER_GENRE:
                audio.write(path, synthetic.make_clip(genre, number, 0))
            else:
                original = synthetic.clip_name(genre, number % SOUNDS_PER_GENRE)
                shutil.copy(tree / genre / original, path)
    corpus = Corpus("folder", tree)
    return make_file_lists(corpus, split=f"{per_genre}:0:1", out=root / f"lists{n}")


def baseline(files: list[Path]) -> list[float]:
    """Return the seconds that the predecessors' procedure takes per clip."""
    import librosa
    import soundfile

    from neuromusic.features import augment

    seconds = []
    with tempfile.TemporaryDirectory() as folder:
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
                soundfile.write(Path(folder) / f"{index}.wav", variant, RATE_HZ)
            for index in range(len(variants)):
                again, _ = librosa.load(Path(folder) / f"{index}.wav", sr=RATE_HZ)
                mel = librosa.feature.melspectrogram(
                    y=again, sr=RATE_HZ, n_fft=1024, hop_length=512, n_mels=128
                )
                librosa.power_to_db(mel)
            seconds.append(time.perf_counter() - start)
    return seconds


def baseline_in_a_process(files: list[Path]) -> list[float]:
    """Run `baseline` in another process, with one more clip first to warm up."""
    process = subprocess.run(
        [sys.executable, __file__, "--baseline", *map(str, [files[0], *files])],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return list(json.loads(process.stdout)[1:])


def ours(lists: Path, out: Path, *options: str) -> common.Measured:
    """Return the time and memory of `neuromusic prepare`."""
    command = [sys.executable, "-m", "neuromusic", "prepare", lists, "--out", out, *options]
    measured = common.measure(command)
    shutil.rmtree(out)
    return measured


def measure_round(
    lists: Path, files: list[Path], variants: dict[str, list[str]], n_clips: int
) -> dict[str, float]:
    """Return seconds, memory and ratios of one round of measurements."""
    half = len(files) // 2
    seconds = baseline_in_a_process(files[:half])
    out = lists.parent / "out"
    measurements = {name: ours(lists, out, *options) for name, options in variants.items()}
    seconds += baseline_in_a_process(files[half:])
    whole_s = float(np.median(seconds)) * n_clips
    result = {
        "baseline_clip_s": whole_s / n_clips,
        "baseline_clip_least_s": min(seconds),
        "baseline_clip_most_s": max(seconds),
        "baseline_s": whole_s,
    }
    for name, measured in measurements.items():
        result[f"seconds_{name}"] = measured.seconds
        result[f"cpu_seconds_{name}"] = measured.cpu_seconds
        result[f"peak_mb_{name}"] = measured.peak_mb
        result[f"ratio_{name}"] = whole_s / measured.seconds
    result["two_to_one"] = measurements["1"].seconds / measurements["2"].seconds
    return result


def main() -> None:
    """Measure everything and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=480)
    parser.add_argument(
        "--sample", type=int, default=24, help="clips for the baseline (default: 24)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="number of rounds (default: 1)")
    parser.add_argument("--linear", action="store_true", help="also 10, 100 and 1 000 clips")
    parser.add_argument("--quick", action="store_true", help="one minute, to check that it works")
    parser.add_argument("--out", type=Path, default=Path("prepare.json"))
    parser.add_argument("--baseline", type=Path, nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.baseline:
        print(json.dumps(baseline(options.baseline)))
        return
    if options.quick:
        options.clips, options.sample = 20, 2
    result: dict[str, object] = {"clips": options.clips, "variants": 10}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lists = make_lists(root, options.clips)
        files = sorted((root / f"clips{options.clips}").rglob("*.wav"))
        files = files[:: len(files) // options.sample][: options.sample]
        variants = {
            "1": ["--workers", "1", "--device", "cpu"],
            "2": ["--workers", "2", "--device", "cpu"],
        }
        if common.hardware()["gpu"]:
            variants["gpu"] = ["--device", "cuda"]
        rounds = [
            measure_round(lists, files, variants, options.clips) for _ in range(options.rounds)
        ]
        result |= {key: float(np.median([numbers[key] for numbers in rounds])) for key in rounds[0]}
        for key in rounds[0]:
            if key.startswith("ratio") or key == "two_to_one":
                result[f"{key}_rounds"] = ", ".join(f"{numbers[key]:.1f}" for numbers in rounds)
        if options.linear:
            for n in (10, 100, 1000):
                measured = ours(make_lists(root, n), root / "out", *variants["2"])
                result[f"linear_{n}_s"] = measured.seconds
                result[f"linear_{n}_peak_mb"] = measured.peak_mb
                shutil.rmtree(root / f"clips{n}")
    lower_limits = {key: value for key, value in TARGETS.items() if key not in UPPER_LIMITS}
    common.report(result, {key: TARGETS[key] for key in UPPER_LIMITS}, options.out)
    for key, value in lower_limits.items():
        if key in result:
            met = "met" if float(str(result[key])) >= value else "NOT MET"
            print(f"{key}: {result[key]:.1f}, target at least {value:g}: {met}")


if __name__ == "__main__":
    main()
