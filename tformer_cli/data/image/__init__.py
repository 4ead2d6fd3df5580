"""Reading and augmentation of pictures."""
