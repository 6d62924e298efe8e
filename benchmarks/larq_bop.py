"""Contestant: larq's Bop on Keras, trained by fit. larq_bop.py WIDTH DENSE BATCH THREADS

Runs on arrays, in an environment of its own (larq-requirements.txt); is spared the augmentation.
"""

import sys

import larq
import numpy as np
import tensorflow as tf
from contestant import serve
from larq.optimizers import Bop, CaseOptimizer

STEPS = {16: 40, 128: 3}  # of one call of fit: its own start is little beside them


def build(f: int, d: int) -> tf.keras.Model:
    def conv(filters, first=False):
        return larq.layers.QuantConv2D(
            filters, 3, padding="valid" if first else "same", use_bias=False,
            input_quantizer=None if first else "ste_sign",
            kernel_quantizer=larq.quantizers.NoOp(precision=1),
        )  # fmt: skip

    def dense(units):
        return larq.layers.QuantDense(
            units, use_bias=False, input_quantizer="ste_sign",
            kernel_quantizer=larq.quantizers.NoOp(precision=1),
        )  # fmt: skip

    def norm():
        return tf.keras.layers.BatchNormalization(momentum=0.99, scale=False)

    layers = [tf.keras.Input((32, 32, 3)), conv(f, first=True), norm()]
    for filters, pool in ((f, True), (2 * f, False), (2 * f, True), (4 * f, False), (4 * f, True)):
        pooling = [tf.keras.layers.MaxPooling2D(2)] if pool else []
        layers += [conv(filters), *pooling, norm()]
    layers.append(tf.keras.layers.Flatten())
    for units in (d, d, 10):
        layers += [dense(units), norm()]
    return tf.keras.Sequential([*layers, tf.keras.layers.Softmax()])


def main(width: int, dense: int, batch: int, threads: int) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = build(width, dense)
    optimizer = CaseOptimizer(
        (Bop.is_binary_variable, Bop(threshold=1e-8, gamma=1e-4)),
        default_optimizer=tf.keras.optimizers.legacy.Adam(0.01),
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    chance = np.random.default_rng(0)
    steps = STEPS[width]
    images = chance.uniform(-1, 1, (steps * batch, 32, 32, 3)).astype("float32")
    labels = chance.integers(0, 10, len(images))

    def step() -> None:
        model.fit(images, labels, batch_size=batch, verbose=0)

    serve(step, units=len(images), seconds=2.0, at_least=1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
