"""Pictures of trained runs."""
