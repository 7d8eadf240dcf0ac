"""Benchmark of the cache of activations: a command without it, with an empty one and a full one.

    python experiments/benchmarks/caching.py [--model resnet50] [--clips 60] [--out FILE]

Exports clips of 15 s of synthetic sound in the published design, with random weights, as a process
that is measured from outside: without a cache, with an empty one, and twice with a full one. The
files must be the same bytes. Writes JSON with the hardware.
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

from common import flat, measure, report, write_network
from export import make_lists

from neuromusic.design.orders import GENRES

WAYS = {"without": False, "empty": True, "full": True, "full_again": True}


def digest(directory: Path) -> str:
    """Return the SHA-256 of all files of an export but its record, which has their places."""
    state = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != "provenance.json":
            state.update(path.relative_to(directory).as_posix().encode() + path.read_bytes())
    return state.hexdigest()


def main() -> None:
    """Make the input, measure all ways and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="cortex-z")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("caching.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_network(root / "run", options.model)
        make_lists(root / "lists", options.clips // len(GENRES))
        result: dict[str, object] = {}
        digests = set()
        for way, has_cache in WAYS.items():
            more = ["--cache", root / "cache"] if has_cache else []
            command = [sys.executable, "-m", "neuromusic", "export", root / "run"]
            measured = measure([*command, "--lists", root / "lists", "--out", root / way, *more])
            result |= flat(way, measured)
            digests.add(digest(root / way))
        if len(digests) > 1:
            raise SystemExit("the exports differ")
        sizes = [path.stat().st_size for path in (root / "cache").rglob("*.npz")]
        result |= {"entries": len(sizes), "cache_mb": sum(sizes) / 1e6}
    report(result, {}, options.out)


if __name__ == "__main__":
    main()
