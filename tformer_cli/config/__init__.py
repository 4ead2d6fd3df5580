"""Settings: what there is (`schema`), and how a recipe and overrides become a checked configuration (`compose`)."""
