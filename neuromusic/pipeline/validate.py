"""Check a set of sound files: which are missing, corrupt, short or duplicate."""

from neuromusic.stimuli.corpora import Corpus
from neuromusic.stimuli.corpora.checks import Problem


def validate_sounds(corpus: Corpus, *, least_s: float = 15.0) -> list[Problem]:
    """Decode every file of a corpus; return those with a problem.

    Parameters
    ----------
    corpus : Corpus
        The sound files.
    least_s : float
        Files shorter than this are reported, in s.

    Returns
    -------
    list of Problem
        ``kind`` ("missing", "corrupt", "short" or "duplicate"), ``file`` and ``what``.

    Raises
    ------
    InputError
        If the corpus has no files or its table of tracks cannot be read.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.validate_sounds(nm.Corpus("folder", "genres"))
    []
    """
    return corpus.validate(least_s)
