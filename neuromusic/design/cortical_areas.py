"""Which stage of a network stands for which area of auditory cortex.

The areas are in processing order: core, belt, parabelt, and the middle and inferior temporal gyri
(Hackett 2011, Hear. Res. 271; Rauschecker and Scott 2009, Nat. Neurosci. 12). The Brodmann areas
are those used for the regions of interest of the music-genre experiment; that 41, 42 and 22 are
core, belt and parabelt is an approximation.
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
