"""Check a set of sound files: which are missing, corrupt, short or duplicate."""

from neuromusic.stimuli.channels import Channel, check_channel
from neuromusic.stimuli.corpora import Corpus
from neuromusic.stimuli.corpora.checks import Problem


def validate_sounds(
    corpus: Corpus, *, least_s: float = 15.0, channel: Channel = "mix"
) -> list[Problem]:
    """Decode every file of a corpus; return those with a problem.

    Parameters
    ----------
    corpus : Corpus
        The sound files.
    least_s : float
        Files shorter than this are reported, in s.
    channel : {"mix", "left", "right"}
        Which channel of the sounds is used: their mean, or the first or second one.

    Returns
    -------
    list of Problem
        ``kind`` ("missing", "corrupt", "short" or "duplicate"), ``file`` and ``what``.

    Raises
    ------
    InputError
        If ``channel`` is something else, the corpus has no files, or its table of tracks cannot be
        read.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.validate_sounds(nm.Corpus("folder", "genres"))
    []
    """
    check_channel(channel)
    return corpus.validate(least_s, channel)
