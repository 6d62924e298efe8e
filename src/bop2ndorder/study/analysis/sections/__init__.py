"""The exhibits of each experiment, and what several of them show."""
