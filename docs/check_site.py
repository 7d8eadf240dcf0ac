"""Check the built site: every internal link and anchor, and that nothing comes from the network.

    python docs/check_site.py build/site

Prints one line per problem and exits with 1 if there is any.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads by itself; a link that a reader may click is not among them.
LOADED = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src",
    "audio": "src", "embed": "src", "object": "data",
}  # fmt: skip
LOADED_RELS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect"}


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser loads with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what one tag has."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and LOADED_RELS & set(found.get("rel", "").split()):
            self.loaded.append(found["href"])
        if found.get(LOADED.get(tag, "")):
            self.loaded.append(found[LOADED[tag]])


def problems(site: Path) -> Iterator[str]:
    """Yield one line for each dead link, missing file and file from the network."""
    pages = {
        path.resolve(): Page(path.read_text("utf-8"))
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    }
    if not pages:
        yield f"{site}: has no pages"
    if not (site / "searchindex.js").is_file():
        yield f"{site}: has no index for the search"
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        for link in page.loaded:
            if urlsplit(link).scheme in ("http", "https") or link.startswith("//"):
                yield f"{where}: loads {link} from the network"
        for link in (*page.links, *page.loaded):
            yield from _dead(link, path, where, pages)
    for sheet in site.rglob("*.css"):
        for link in re.findall(
            r"(?:url\(|@import )\s*['\"]?((?:https?:)?//[^'\")]+)", sheet.read_text("utf-8")
        ):
            yield f"{sheet.relative_to(site)}: loads {link} from the network"


def _dead(link: str, path: Path, where: Path, pages: dict[Path, Page]) -> Iterator[str]:
    parts = urlsplit(link)
    if parts.scheme or link.startswith("//"):
        return
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        yield f"{where}: {link} is not there"
    elif (
        parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors
    ):
        yield f"{where}: {link} has no such anchor"


def main() -> int:
    """Check the site that the command line names."""
    site = Path(sys.argv[1])
    found = sorted(set(problems(site)))
    print("\n".join(found) or f"{site}: no dead link, nothing from the network")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
