"""Make the class/file tree for natsound.toml: ESC-10 and GTZAN in one folder.

The files of ESC-10 (``001 - Dog bark/1-100032-A.ogg``, 5 s) are linked. The first 15 s of every
GTZAN excerpt are cut into four pieces of 3.75 s, so that there
is as much music as other sounds.

    python experiments/benchmarks/music_and_environment.py ESC-10 genres sounds
"""

import argparse
from pathlib import Path

import soundfile

PIECES, PIECE_S = "abcd", 3.75


def main() -> None:
    """Link the sounds of ESC-10 and cut those of GTZAN."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name in ("esc10", "genres", "out"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    esc10, genres, out = arguments.esc10, arguments.genres, arguments.out
    for path in sorted(esc10.glob("*/*.ogg")):
        folder = out / path.parent.name.split(" - ")[-1].lower().replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).symlink_to(path.resolve())
    for path in sorted(genres.glob("*/*.wav")):
        wave, rate_hz = soundfile.read(path, dtype="int16")
        n = round(PIECE_S * rate_hz)
        folder = out / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        for index, letter in enumerate(PIECES):
            piece = wave[index * n : (index + 1) * n]
            soundfile.write(folder / f"{path.stem}_{letter}.wav", piece, rate_hz)


if __name__ == "__main__":
    main()
