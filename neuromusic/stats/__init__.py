"""Statistical tests and intervals: plain functions on arrays, each with its source.

* `significance`: is a result more than chance?
* `shifts`: does a prediction match a time series better than chance?
* `run_shifts`: the same for what is computed over clips, such as dissimilarities and ranks.
* `intervals`, `resampling`: how precisely is it measured?
* `group`: does it hold for other subjects, and for how many of them?
* `resampled_t`: do two predictors differ over random splits of the same items?
* `multiple`: how many of several results are false positives?
* `reliability`, `harmonics`: how well could any model predict these data?
"""
