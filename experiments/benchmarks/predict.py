"""Benchmark of prediction for long files, which are read in blocks.

    python experiments/benchmarks/predict.py [--quick] [--keep DIR] [--out FILE]

`neuromusic predict` classifies ten minutes and one hour of stereo FLAC at 44.1 kHz with cortex-z
base (random weights), in a process whose time and memory are measured from outside; memory must not
grow with the length. For comparison, the simple method runs in another process: librosa.load of the
whole file, its spectrogram, and one window at a time. Writes JSON with the hardware. With --quick,
the files last one minute and six minutes.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from common import flat, measure, naive_mel, report, write_network

from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.training.trained import load_network

FILE_HZ = 44_100
TARGETS = {"grown_mb": 20.0}


def make_file(path: Path, minutes: int) -> None:
    """Write stereo FLAC with noise and a different tone every five seconds."""
    rng = np.random.default_rng(0)
    t = np.arange(5 * FILE_HZ) / FILE_HZ
    with soundfile.SoundFile(path, "w", FILE_HZ, 2, "PCM_16") as file:
        for _ in range(minutes * 12):
            tone = np.sin(2 * np.pi * rng.uniform(100, 2000) * t) * (np.mod(t * 3, 1) < 0.5)
            file.write(0.1 * tone[:, None] + 0.02 * rng.standard_normal((len(t), 2)))


def predict_plainly(directory: Path, path: Path) -> None:
    """Print the class probabilities of a file, which is loaded as a whole."""
    import librosa

    trained = load_network(directory)
    network = trained.network.to(memory_format=torch.contiguous_format)
    window = network.spec.n_frames
    wave, _ = librosa.load(path, sr=RATE_HZ, mono=True)
    mel = naive_mel(wave)
    log_p = []
    with torch.no_grad():
        for first in range(0, mel.shape[1] - window + 1, trained.hop_frames):
            x = torch.from_numpy(mel[None, :, first : first + window].copy())
            log_p.append(torch.log_softmax(network(x), 1))
    p = torch.softmax(torch.cat(log_p).mean(0), 0)
    print(" ".join(f"{value:.6f}" for value in p.tolist()))


def measure_both(root: Path, scratch: Path, minutes: dict[str, int]) -> dict[str, float]:
    """Measure our prediction for the short and the long file, and the simple one for the long file.

    The files and the network are made in ``root`` unless they exist there.
    """
    network = root / "run-cortex-z"
    if not network.is_dir():
        write_network(network)
    table, log = scratch / "p.tsv", scratch / "plain.txt"
    result: dict[str, float] = {}
    for name, length in minutes.items():
        path = root / f"{length}.flac"
        if not path.is_file():
            make_file(path, length)
        command = [sys.executable, "-m", "neuromusic", "predict", network, path, "--out", table]
        result |= {f"{name}_minutes": length, **flat(name, measure(command))}
    result |= flat("plain", measure([sys.executable, __file__, "--plain", network, path], log))
    ours = pd.read_csv(table, sep="\t").iloc[0, 3:].to_numpy(float)
    theirs = np.array(log.read_text().splitlines()[-1].split(), float)
    # The simple method has windows across our block boundaries, and none at the very end.
    result["largest_difference"] = float(np.abs(ours - theirs).max())
    return result


def main() -> None:
    """Make the files, measure the predictions and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plain", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help="directory for the input, to use it again")
    parser.add_argument("--out", type=Path, default=Path("predict.json"))
    arguments = parser.parse_args()
    if arguments.plain:
        predict_plainly(*arguments.plain)
        return
    minutes = {"short": 1, "long": 6} if arguments.quick else {"short": 10, "long": 60}
    with tempfile.TemporaryDirectory() as scratch:
        result = measure_both(arguments.keep or Path(scratch), Path(scratch), minutes)
    result["seconds_an_hour"] = result["long_seconds"] / (minutes["long"] / 60)
    result["times_real_time"] = 3600 / result["seconds_an_hour"]
    result["grown_mb"] = result["long_peak_mb"] - result["short_peak_mb"]
    result["times_as_fast"] = result["plain_seconds"] / result["long_seconds"]
    result["times_less_cpu"] = result["plain_cpu_seconds"] / result["long_cpu_seconds"]
    report(result, TARGETS, arguments.out)


if __name__ == "__main__":
    main()
