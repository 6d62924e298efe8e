"""What the measured trainings have in common: the point of section 5.1 of the paper, and Adam."""

COMMON = {
    "optimizer": {
        "name": "bop2ndorder",
        "gamma": 1e-7,
        "sigma": 1e-3,
        "threshold": 1e-6,
        "eps": 1e-10,
        "bias_correction": "constant",
    },
    "lr": 0.01,
    "seed": 0,
}
