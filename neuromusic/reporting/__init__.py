"""One page for people: what was done, how good it is, and what it was made from.

A directory that a command wrote becomes a part of the page (`directories`), each part has sections
of blocks (`blocks`), and `page` writes all of it as one HTML file that loads nothing.
"""
