"""Notes on runs, for logs and sidecars."""

from collections.abc import Sequence

MOST_NOTES = 18  # that are the same but for the run


def summarised(notes: Sequence[str]) -> list[str]:
    """Return notes, such as "STEM: text", in which a text that many runs have occurs once."""
    stems: dict[str, list[str]] = {}
    for note in notes:
        stem, _, text = note.partition(": ")
        stems.setdefault(text, []).append(stem)
    kept: dict[str, None] = {}
    for note in notes:
        text = note.partition(": ")[2]
        n = len(stems[text])
        several = f"{n} runs or tasks, such as {stems[text][0]}: {text}"
        kept[several if text and n > MOST_NOTES else note] = None
    return list(kept)
