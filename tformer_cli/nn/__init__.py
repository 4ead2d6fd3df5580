"""The core that all families share."""
