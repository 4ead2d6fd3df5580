"""Settings (`schema`), and the composition of a checked configuration from a recipe and overrides (`compose`)."""
