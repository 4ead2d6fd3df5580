"""Reading, features and augmentation of recordings."""
