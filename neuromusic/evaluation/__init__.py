"""How well a network classifies: scores, comparisons, confusions, prediction, similar sounds."""
