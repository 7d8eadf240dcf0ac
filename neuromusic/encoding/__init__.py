"""Compare a network with a brain: how well its stages predict images or single responses.

* Images: `rois` and `atlas` choose voxels, `stage_components` reduces the stages, `subjects` and
  `voxelwise` fit and score them, `tables` and `plots` write the results.
* Single responses to short sounds: `sound_responses`, `sound_features`; `sound_encoding` and
  `sound_ridge` fit and score them, `sound_results`, `sound_tables` and `sound_plots` write the
  results.
* Both: `ridge` fits and chooses penalties; `scoring` and `rsa` compare predictions and patterns.
"""
