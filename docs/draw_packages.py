"""Draw docs/images/packages.svg: the packages of neuromusic, by level, with their real imports.

    pip install import-linter && python docs/draw_packages.py

The levels come from the layers contract in setup.cfg, the arrows from the imports that grimp (a
dependency of import-linter) finds in the code. An arrow points from a package to one that it
imports; its width grows with the number of importing modules.
"""

import configparser
import math
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
JOBS = {
    "cli": "one file per command: options, exit codes, next step",
    "reporting": "pages of results",
    "pipeline": "one function per command: check, compute, write, record",
    "encoding": "networks beside brains: ridge, scores, similarity, maps",
    "evaluation": "how well a network classifies",
    "fmri": "the scanner's grid: activations, export, simulation, images",
    "training": "settings, batches, fitting, trained networks, search",
    "models": "networks, stages, registry, receptive fields",
    "features": "spectra, variants, front ends, prepared sets, windows",
    "design": "what was played when: orders, events, lists, splits, leaks",
    "stimuli": "sounds on disk: audio, clips, corpora, fingerprints",
    "stats": "p values, intervals, multiple comparisons, ceilings",
    "core": "errors, readers, records, output directories, workers",
}
BOX_W, BOX_H, GAP = 470, 44, 26
WIDTH = 1000
SANS = "font-family='Helvetica, Arial, sans-serif'"


def levels() -> list[list[str]]:
    """Return the packages of each level, from the top down, as the contract has them."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    text = settings["importlinter:contract:levels"]["layers"]
    lines = [line for line in text.splitlines() if line.strip()]
    return [[name.strip().split(".")[-1] for name in line.split("|")] for line in lines]


def imports() -> dict[tuple[str, str], int]:
    """Return (importing package, imported package) -> number of importing modules."""
    graph = grimp.build_graph("neuromusic")
    counts: dict[tuple[str, str], int] = {}
    for module in graph.modules:
        package = module.split(".")[1] if "." in module else ""
        others = {name.split(".")[1] for name in graph.find_modules_directly_imported_by(module)
                  if name.count(".")}  # fmt: skip
        for other in others - {package}:
            if package in JOBS and other in JOBS:
                counts[package, other] = counts.get((package, other), 0) + 1
    return counts


def places(rows: list[list[str]]) -> dict[str, tuple[float, float, float]]:
    """Return package -> (left, top, width) of its box."""
    found = {}
    for level, row in enumerate(rows):
        width = (BOX_W - 10 * (len(row) - 1)) / len(row)
        for index, name in enumerate(row):
            left = (WIDTH - BOX_W) / 2 + index * (width + 10)
            found[name] = (left, 20 + level * (BOX_H + GAP), width)
    return found


def arrow(start: tuple[float, float, float], end: tuple[float, float, float], n: int) -> str:
    """Return an arc from one box to a lower one, on the side of a narrow box if there is one."""
    y1, y2 = start[1] + BOX_H / 2, end[1] + BOX_H / 2
    levels_down = round((y2 - y1) / (BOX_H + GAP))
    narrow = next((place for place in (start, end) if place[2] < BOX_W), None)
    right = narrow[0] >= WIDTH / 2 if narrow else levels_down % 2 == 1
    x1 = start[0] + start[2] if right else start[0]
    x2 = end[0] + end[2] if right else end[0]
    bend = (18 + 17 * levels_down) * (1 if right else -1)
    width = 0.7 + 0.8 * math.log2(n)
    return (
        f"<path d='M {x1:.0f} {y1:.0f} C {x1 + bend:.0f} {y1:.0f}, {x2 + bend:.0f} {y2:.0f}, "
        f"{x2:.0f} {y2:.0f}' fill='none' stroke='#8aa' stroke-width='{width:.1f}' "
        "marker-end='url(#head)'/>"
    )


def box(name: str, place: tuple[float, float, float]) -> str:
    """Return the box of a package with its name and job."""
    left, top, width = place
    half = width < BOX_W
    lines = [JOBS[name]] if not half else JOBS[name].split(": ")[:1]
    return (
        f"<rect x='{left:.0f}' y='{top:.0f}' width='{width:.0f}' height='{BOX_H}' rx='6' "
        "fill='#eef4f4' stroke='#466'/>"
        f"<text x='{left + 12:.0f}' y='{top + 18:.0f}' {SANS} font-size='15' font-weight='bold' "
        f"fill='#233'>{name}</text>"
        f"<text x='{left + 12:.0f}' y='{top + 35:.0f}' {SANS} font-size='12' fill='#455'>"
        f"{escape(lines[0])}</text>"
    )


def main() -> None:
    """Write the picture."""
    rows = levels()
    where = places(rows)
    height = 40 + len(rows) * (BOX_H + GAP)
    arrows = [arrow(where[a], where[b], n) for (a, b), n in sorted(imports().items())]
    boxes = [box(name, place) for name, place in where.items()]
    head = (
        "<defs><marker id='head' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='9' "
        "markerHeight='9' markerUnits='userSpaceOnUse' orient='auto'>"
        "<path d='M0 0L8 4L0 8z' fill='#8aa'/></marker></defs>"
    )
    text = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' "
        f"width='{WIDTH}' height='{height}'><rect width='100%' height='100%' fill='white'/>"
        f"{head}{''.join(arrows)}{''.join(boxes)}</svg>\n"
    )
    (ROOT / "docs/images/packages.svg").write_text(text.replace("'", '"'), "utf-8")


if __name__ == "__main__":
    main()
