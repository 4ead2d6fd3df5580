"""Scores, computed by the usual libraries: sacreBLEU, scikit-learn, SciPy, seqeval and jiwer."""
