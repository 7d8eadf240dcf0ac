"""Statistical tests and intervals: plain functions on arrays, each with its source.

* `significance`: is a result more than chance?
* `intervals`, `resampling`: how precisely is it measured?
* `multiple`: how many of several results are false positives?
* `reliability`: how well could any model predict these data?
"""
