"""Names of the ten variants of a training clip, without the code that makes them."""

from pathlib import PurePosixPath

VARIANTS = (
    "original",  # 0
    "noise",  # white noise at a signal-to-noise ratio
    "shift",  # circular shift in time
    "stretch",  # tempo; pitch is kept (phase vocoder)
    "pitch",  # pitch; tempo is kept
    "speed",  # pitch and tempo together
    "resample",  # to a lower rate and back, which removes high frequencies
    "gain",  # quieter, so that nothing can clip
    "percussive",  # percussive part
    "harmonic",  # harmonic part
)


def variant_file_name(path: str, variant: int) -> str:
    """Return the wav name of a variant: a.wav -> a_v3-stretch.wav; variant 0 keeps its name."""
    if variant == 0:
        return path
    pure = PurePosixPath(path)
    return str(pure.with_name(f"{pure.stem}_v{variant}-{VARIANTS[variant]}.wav"))
