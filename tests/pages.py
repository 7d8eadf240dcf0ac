"""The pages of the documentation and their code blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^(?P<indent> *)(?P<mark>`{3,}|:{3,})(?P<info>.*)$")
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
SAVE_AS = re.compile(r"Save this as `([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A code block: its page, line, language and code."""

    page: str
    line: int
    language: str
    code: str
    not_run: str  # the reason why it is not run, or ""
    file: str  # the name under which the page says to save it, or ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return all pages, with the README and the files that pages include."""
    written = [
        path for path in sorted((ROOT / "docs").rglob("*.md")) if "auto_gallery" not in path.parts
    ]
    named = ("README.md", "CONTRIBUTING.md", "orders/README.md", "experiments/README.md")
    return [*written, *(ROOT / name for name in named)]


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page; directives such as ``{toctree}`` are none."""
    found: list[Block] = []
    lines = page.read_text("utf-8").splitlines()
    before: list[str] = []  # the lines since the last block
    place = 0
    while place < len(lines):
        fence = FENCE.match(lines[place])
        if not fence or fence["mark"].startswith(":"):
            before.append(lines[place])
            place += 1
            continue
        end = next(
            i for i in range(place + 1, len(lines)) if lines[i].strip() == fence["mark"]
        )  # fmt: skip
        language = fence["info"].strip()
        if not language.startswith("{"):
            above = "\n".join(before)
            reason = NOT_RUN.search(before[-1] if before else "")
            saved = SAVE_AS.findall(above)
            code = "\n".join(line.removeprefix(fence["indent"]) for line in lines[place + 1 : end])
            found.append(
                Block(
                    str(page.relative_to(ROOT)), place + 1, language, f"{code}\n",
                    reason[1] if reason else "", saved[-1] if saved else "",
                )
            )  # fmt: skip
        before = []
        place = end + 1
    return found


def blocks_of(name: str, *languages: str) -> list[Block]:
    """Return the blocks of a page that are run, in some languages."""
    return [
        block for block in blocks(ROOT / name) if block.language in languages and not block.not_run
    ]


def indented_code(page: Path) -> list[int]:
    """Return the lines at which a block is indented instead of fenced, so has no language."""
    found, fence, is_list = [], "", False
    lines = ["", *page.read_text("utf-8").splitlines()]
    for number, line in enumerate(lines):
        mark = FENCE.match(line)
        if mark and mark["mark"].startswith("`"):
            fence = "" if fence == mark["mark"] else fence or mark["mark"]
            continue
        if line and not line.startswith(" "):
            is_list = bool(re.match(r"(\*|-|\d+\.) ", line))
        if not fence and not is_list and line.startswith("    ") and not lines[number - 1]:
            found.append(number)
    return found
