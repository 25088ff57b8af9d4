"""Stochastic gradient descent with momentum and weight decay: equations (14) to (16)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from convforge.geometry import ArgumentError

#: Variables that weight decay leaves alone, as patterns of their paths: biases, PReLU slopes,
#: and the scale and shift of normalisation layers.
NO_DECAY = (r"(^|/)bias$", r"(^|/)alpha$", r"(^|/)gamma$", r"(^|/)beta$")


LearningRate: TypeAlias = (
    float | keras.optimizers.schedules.LearningRateSchedule | Callable[[], float]
)


@keras.saving.register_keras_serializable(package="convforge")
class MomentumSGD(keras.optimizers.Optimizer):
    """Stochastic gradient descent with momentum and weight decay *through the velocity*.

    For a mini-batch D_t, equations (15) and (16):

        v ← α·v − β·ε·ω − ε·⟨∂L/∂ω⟩_{D_t}
        ω ← ω + v

    and with momentum = weight_decay = 0 equation (14), ω ← ω − ε·⟨∂L/∂ω⟩_{D_t}. These are
    AlexNet's rule and its values for α and β.

    What `weight_decay` means here: β is part of the gradient, as if L had the term ½·β·‖ω‖²
    (`keras.regularizers.L2(β / 2)` gives the same weights, but adds its penalty to the reported
    loss). So the decay is multiplied by ε and remembered by the velocity. Keras' own
    `SGD(weight_decay=β)` shrinks ω ← ω − β·ε·ω before the step, outside the velocity: after many
    steps the lecture's rule decays about 1 / (1 − α) = 10 times as strongly for the same β.
    PyTorch's `SGD(momentum=α, weight_decay=β)` is this rule as long as ε is constant; its
    velocity leaves ε out, so the two part when a schedule changes ε. The base class' attribute
    `weight_decay` stays None, since Keras would decay a second time; ours is `coupled_decay`.

    Clipping (`clipnorm`, `clipvalue`, `global_clipnorm`) acts on ⟨∂L/∂ω⟩ before the decay is
    added. Mixed precision: wrap in `keras.optimizers.LossScaleOptimizer`, as Keras does itself.

    Args:
        learning_rate: ε, a number, a `LearningRateSchedule` or a function without arguments.
            Default 0.01, AlexNet's.
        momentum: α in [0, 1). Default 0.9, the lecture's.
        weight_decay: β ≥ 0. Default 0.0005, the lecture's.
        no_decay: regular expressions; a variable whose path (such as "conv1/kernel") one of them
            is found in has β = 0. The default exempts biases, PReLU slopes, gamma and beta by
            rule; add names to it: `(*NO_DECAY, "embedding")`. `()` decays everything, which is
            (15) to the letter.
        learning_rate_factors: pattern → factor: ε is multiplied by the factor of the first
            pattern found in the path. cuda-convnet's biases: `{"bias$": 2.0}`.
        decay_factors: pattern → factor for β in the same way, for what `no_decay` leaves.
        clipnorm: the longest that each variable's gradient may be; None (default) for any length.
        clipvalue: the largest that each of its numbers may be.
        global_clipnorm: the longest that all gradients together may be. One of the three at most.
        use_ema: keep an exponential moving average of the weights beside them. Default False.
        ema_momentum: how much of the average stays at each step. Default 0.99.
        ema_overwrite_frequency: after how many steps the weights become their average; None
            (default) for the end of training alone.
        loss_scale_factor: multiplies the loss and divides the gradients, for half precision; None
            for 1.
        gradient_accumulation_steps: gradients are averaged over that many batches, and then
            follows one step; None for 1.
        name: the optimizer's name.

    Raises:
        ArgumentError: a number out of range, a pattern that is no regular expression, or, once
            the variables are known, a factor's pattern that fits none of them.

    Example:
        One weight, ω = 1, with a constant gradient of 1:

        >>> import keras
        >>> w = keras.Variable([1.0], name="kernel")
        >>> optimizer = MomentumSGD(learning_rate=0.5, momentum=0.5, weight_decay=0.25)
        >>> for _ in range(2):
        ...     optimizer.apply([keras.ops.ones(1)], [w])
        ...     print(w.numpy().item())
        0.375
        -0.484375

    References:
        Lecture, slides "Stochastic Gradient Descent"; Krizhevsky, Sutskever, Hinton 2012,
        section 5.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        *,
        no_decay: Sequence[str] = NO_DECAY,
        learning_rate_factors: Mapping[str, float] | None = None,
        decay_factors: Mapping[str, float] | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "momentum_sgd",
    ) -> None:
        if isinstance(learning_rate, int):
            learning_rate = float(learning_rate)
        super().__init__(
            learning_rate, clipnorm=clipnorm, clipvalue=clipvalue, global_clipnorm=global_clipnorm,
            use_ema=use_ema, ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency, loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps, name=name,
        )  # fmt: skip
        if not 0 <= momentum < 1:
            raise ArgumentError("momentum", momentum, "a number in [0, 1)", owner=self._owner)
        if weight_decay is None or weight_decay < 0:
            raise ArgumentError("weight_decay", weight_decay, "a number ≥ 0", owner=self._owner)
        self.momentum = float(momentum)
        self.coupled_decay = float(weight_decay)
        self.no_decay = [self._pattern("no_decay", pattern) for pattern in no_decay]
        self.learning_rate_factors = self._factors("learning_rate_factors", learning_rate_factors)
        self.decay_factors = self._factors("decay_factors", decay_factors)

    @property
    def _owner(self) -> str:
        return f"MomentumSGD '{self.name}'"

    def _pattern(self, argument: str, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            allowed = f"a regular expression ({error})"
            raise ArgumentError(argument, pattern, allowed, owner=self._owner) from error
        return pattern

    def _factors(self, argument: str, factors: Mapping[str, float] | None) -> dict[str, float]:
        for pattern, factor in (factors or {}).items():
            self._pattern(argument, pattern)
            if factor < 0:
                allowed = "factors ≥ 0"
                raise ArgumentError(argument, {pattern: factor}, allowed, owner=self._owner)
        return {pattern: float(factor) for pattern, factor in (factors or {}).items()}

    def exclude_from_weight_decay(
        self,
        var_list: Sequence[keras.Variable] | None = None,
        var_names: Sequence[str] | None = None,
    ) -> None:
        """Keras' way to exempt variables: adds them to `no_decay`, and so to the config.

        Args:
            var_list: variables, exempt by their whole paths.
            var_names: patterns, as in `no_decay`.

        Raises:
            ValueError: the optimizer has met its variables already.
        """
        if self.built:
            raise ValueError(f"{self._owner}: exempt variables before the first step")
        exact = [f"^{re.escape(variable.path)}$" for variable in var_list or ()]
        self.no_decay += [self._pattern("var_names", name) for name in (*exact, *(var_names or ()))]

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        paths = [variable.path for variable in variables]
        self._check_used("learning_rate_factors", self.learning_rate_factors, paths)
        self._check_used("decay_factors", self.decay_factors, paths)
        self._velocities = (
            self.add_optimizer_variables(variables, "velocity") if self.momentum else []
        )
        self._rate_factors = [_factor(self.learning_rate_factors, path) for path in paths]
        self._decay_factors = [self._decay_factor(path) for path in paths]

    def _check_used(self, argument: str, factors: Mapping[str, float], paths: list[str]) -> None:
        for pattern in factors:
            if not any(re.search(pattern, path) for path in paths):
                allowed = f"a pattern found in one of the variables {', '.join(paths)}"
                raise ArgumentError(argument, pattern, allowed, owner=self._owner)

    def _decay_factor(self, path: str) -> float:
        if any(re.search(pattern, path) for pattern in self.no_decay):
            return 0.0
        return _factor(self.decay_factors, path)

    def _decay(self, index: int) -> Any:
        """β of one variable: a number, or what a compiled step has in its place."""
        factor = self._decay_factors[index]
        return self.coupled_decay * factor if factor else 0.0

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Equations (15) and (16) for one variable."""
        ops = keras.ops
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype)
        if self._rate_factors[index] != 1:
            rate = rate * self._rate_factors[index]
        step = ops.cast(gradient, variable.dtype)
        decay = self._decay(index)
        if not (isinstance(decay, float) and decay == 0):
            step = ops.add(step, ops.multiply(variable, decay))
        step = ops.multiply(step, rate)
        if not self._velocities:
            self.assign_sub(variable, step)
            return
        velocity = self._velocities[index]
        self.assign(velocity, ops.subtract(ops.multiply(velocity, self.momentum), step))
        self.assign_add(variable, velocity)

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        """Keras' hook around `update_step`: on PyTorch one call steps all variables that agree.

        Keras does so for its own optimizers there: one call for each operation and variable
        takes several times as long.
        """
        if keras.backend.backend() != "torch":
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        # It imports PyTorch, which other backends do without.
        from convforge.optimizers.torch_step import fits, momentum_step

        together: dict[Any, list[tuple[Any, Any, Any]]] = {}
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            value, index = variable.value, self._get_variable_index(variable)
            if not fits(value):
                self.update_step(gradient, variable, learning_rate)
                continue
            velocity = self._velocities[index].value if self.momentum else None
            factors = (self._rate_factors[index], self._decay(index))
            key = (value.dtype, value.device, *factors)
            together.setdefault(key, []).append((value, gradient, velocity))
        for (_, _, factor, decay), members in together.items():
            variables, gradients, velocities = zip(*members, strict=True)
            momentum_step(
                variables,
                gradients,
                velocities if self.momentum else (),
                learning_rate=float(learning_rate) * factor,
                momentum=self.momentum,
                decay=decay,
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "weight_decay": self.coupled_decay,
            "no_decay": list(self.no_decay),
            "learning_rate_factors": dict(self.learning_rate_factors),
            "decay_factors": dict(self.decay_factors),
        }


def _factor(factors: Mapping[str, float], path: str) -> float:
    """The factor of the first pattern found in `path`, or 1."""
    return next((factor for pattern, factor in factors.items() if re.search(pattern, path)), 1.0)
