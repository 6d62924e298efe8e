"""The optimizers once more, slow and obvious: float64 NumPy, one equation of the papers a line.

Each step returns by how much every weight's signal exceeds the threshold, relative to the threshold
or to what the signal would be if no gradients had cancelled (`size`), whichever is larger: where
that is nearly 0, rounding decides about the flip.
"""

import numpy as np


class Bop:
    """Helwegen et al. 2019, algorithm 1."""

    def __init__(self, w):
        self.w = np.array(w, dtype=np.float64)
        self.m = np.zeros_like(self.w)
        self.size = np.zeros_like(self.w)

    def step(self, g, gamma, threshold):
        self.m = (1 - gamma) * self.m + gamma * g
        self.size = (1 - gamma) * self.size + gamma * abs(g)
        return self.flip(1.0, threshold)

    def flip(self, divisor, threshold):
        signal = self.w * self.m / divisor
        self.w = np.where(signal > threshold, -self.w, self.w)
        return (signal - threshold) / np.maximum(self.size / divisor, threshold)


class Bop2ndOrder(Bop):
    """Suarez-Ramirez et al. 2021, section 3, with each of the three bias corrections."""

    def __init__(self, w, bias_correction=None):
        super().__init__(w)
        self.v = np.zeros_like(self.w)
        self.gammas, self.sigmas = [], []
        self.bias_correction = bias_correction

    def step(self, g, gamma, sigma, threshold, eps=1e-10):
        self.gammas.append(gamma)
        self.sigmas.append(sigma)
        self.m = (1 - gamma) * self.m + gamma * g
        self.size = (1 - gamma) * self.size + gamma * abs(g)
        self.v = (1 - sigma) * self.v + sigma * g**2
        a, b = self.correction()
        return self.flip(a * (np.sqrt(self.v / b) + eps), threshold)

    def correction(self):
        if self.bias_correction == "constant":
            return self.gammas[-1], self.sigmas[-1]
        if self.bias_correction == "adam":
            return 1 - np.prod(1 - np.array(self.gammas)), 1 - np.prod(1 - np.array(self.sigmas))
        return 1.0, 1.0


def keras_adam(parameters, gradients, lr):
    """tf.keras.optimizers.Adam of TensorFlow 2, as documented: epsilon beside the plain root."""
    beta1, beta2, epsilon = 0.9, 0.999, 1e-7
    w = [p.copy() for p in parameters]
    m, v = [np.zeros_like(p) for p in w], [np.zeros_like(p) for p in w]
    for t, step in enumerate(gradients, start=1):
        rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        for i, g in enumerate(step):
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g**2
            w[i] -= rate * m[i] / (np.sqrt(v[i]) + epsilon)
    return w
