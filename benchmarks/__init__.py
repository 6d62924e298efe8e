"""How fast the project is, beside the machine's limit and beside its peers: python -m benchmarks"""
