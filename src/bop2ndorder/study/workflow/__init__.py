"""What is made from what, and whether it is there: products, plan, verification, processes."""
