"""The lecture's optimizer: gradient descent with momentum and coupled weight decay."""

from convforge.optimizers.momentum_sgd import NO_DECAY, MomentumSGD

__all__ = ["NO_DECAY", "MomentumSGD"]
