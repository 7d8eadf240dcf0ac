"""Which stage of a network stands for which area of auditory cortex.

The areas are ordered as the sound passes them: core, belt, parabelt, and the middle and inferior
temporal gyri (Hackett 2011, Hear. Res. 271; Rauschecker and Scott 2009, Nat. Neurosci. 12). The
Brodmann areas are those with which the music-genre experiment names its regions of interest.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class CorticalArea:
    """One area: the name of its stage, its title in figures, and its Brodmann areas."""

    name: str
    title: str
    brodmann: tuple[int, ...]


AREAS = (
    CorticalArea("A1", "core (A1)", (41,)),
    CorticalArea("belt", "belt", (42,)),
    CorticalArea("PB", "parabelt", (22,)),
    CorticalArea("T2T3", "middle and inferior temporal gyri (T2/T3)", (21, 20)),
)
