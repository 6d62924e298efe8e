"""What the records say of the claims of the paper."""
