"""Report, README and notebooks."""
