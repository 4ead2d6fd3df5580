"""Reading and augmentation of images."""
