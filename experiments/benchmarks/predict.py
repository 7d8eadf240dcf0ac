"""Prediction of a long file: an hour of sound, which streams.

    python experiments/benchmarks/predict.py [--quick] [--keep DIR] [--out FILE]

Ten minutes and an hour of stereo FLAC at 44.1 kHz go through `neuromusic predict` with cortex-z
base (random weights), as a process that is watched from outside; the memory must not grow with the
length. Beside it the plain way, in a process of its own: librosa.load of the whole file, its
spectrogram, one window at a time. Writes JSON with the hardware; --quick takes a
minute and six.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from common import flat, make_run, measure, naive_mel, report

from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.training.trained import load_network

FILE_HZ = 44_100
TARGETS = {"grown_mb": 20.0}


def make_file(path: Path, minutes: int) -> None:
    """Write stereo FLAC, another tone in noise every five seconds."""
    rng = np.random.default_rng(0)
    t = np.arange(5 * FILE_HZ) / FILE_HZ
    with soundfile.SoundFile(path, "w", FILE_HZ, 2, "PCM_16") as file:
        for _ in range(minutes * 12):
            tone = np.sin(2 * np.pi * rng.uniform(100, 2000) * t) * (np.mod(t * 3, 1) < 0.5)
            file.write(0.1 * tone[:, None] + 0.02 * rng.standard_normal((len(t), 2)))


def plain(run: Path, path: Path) -> None:
    """Print the probabilities of a file that is loaded whole."""
    import librosa

    loaded = load_network(run)
    network = loaded.network.to(memory_format=torch.contiguous_format)
    window = network.spec.n_frames
    wave, _ = librosa.load(path, sr=RATE_HZ, mono=True)
    mel = naive_mel(wave)
    log_p = []
    with torch.no_grad():
        for first in range(0, mel.shape[1] - window + 1, loaded.hop_frames):
            x = torch.from_numpy(mel[None, :, first : first + window].copy())
            log_p.append(torch.log_softmax(network(x), 1))
    p = torch.softmax(torch.cat(log_p).mean(0), 0)
    print(" ".join(f"{value:.6f}" for value in p.tolist()))


def main() -> None:
    """Make the files, time their prediction and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plain", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help="where the input is made, and found next time")
    parser.add_argument("--out", type=Path, default=Path("predict.json"))
    given = parser.parse_args()
    if given.plain:
        plain(*given.plain)
        return
    short, long = (1, 6) if given.quick else (10, 60)
    with tempfile.TemporaryDirectory() as scratch:
        root = given.keep or Path(scratch)
        run = root / "run-cortex-z"
        if not run.is_dir():
            make_run(run)
        result: dict[str, object] = {}
        for name, minutes in (("short", short), ("long", long)):
            path = root / f"{minutes}.flac"
            if not path.is_file():
                make_file(path, minutes)
            table = Path(scratch) / "p.tsv"
            command = [sys.executable, "-m", "neuromusic", "predict", run, path, "--out", table]
            result |= {f"{name}_minutes": minutes, **flat(name, measure(command))}
        log = Path(scratch) / "plain.txt"
        result |= flat("plain", measure([sys.executable, __file__, "--plain", run, path], log))
        ours = pd.read_csv(table, sep="\t").iloc[0, 3:].to_numpy(float)
        theirs = np.array(log.read_text().splitlines()[-1].split(), float)
        # The plain way has windows across our pieces, and none at their ends.
        result["largest_difference"] = float(np.abs(ours - theirs).max())
    hours = long / 60
    result["seconds_an_hour"] = result["long_seconds"] / hours
    result["times_real_time"] = 3600 / result["seconds_an_hour"]
    result["grown_mb"] = result["long_peak_mb"] - result["short_peak_mb"]
    result["times_as_fast"] = result["plain_seconds"] / result["long_seconds"]
    result["times_less_cpu"] = result["plain_cpu_seconds"] / result["long_cpu_seconds"]
    report(result, TARGETS, given.out)


if __name__ == "__main__":
    main()
