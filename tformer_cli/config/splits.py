"""The splits of a run's data, which are also the settings `data.train`, `data.validation` and `data.test`."""

SPLITS = ("train", "validation", "test")
