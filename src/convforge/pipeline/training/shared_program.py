"""One program for several runs: what differs between them in numbers is its input (JAX).

Where it is *mapped*, all runs go through a step at once, each layer one larger operation
(`jax.vmap`): on an accelerator that small nets leave idle. On a processor the runs take turns with
one program, compiled once, since the grouped convolution that mapping makes is slow there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import NDArray

from convforge.pipeline.pluralize import byte_size, pluralize
from convforge.pipeline.training.device_feed import (
    Pace,
    Split,
    State,
    Steps,
    assign,
    assign_metrics,
    load,
    state_of,
)
from convforge.pipeline.training.out_of_memory import is_lack_of_memory
from convforge.pipeline.training.run_group import TEST, TRAIN, GroupedRun, Request, RunGroup
from convforge.pipeline.training.traced_numbers import numbers_of, traced_numbers

if TYPE_CHECKING:
    # It brings TensorFlow, which an accelerator need not have.
    from convforge.pipeline.training.feed import Feed

# Of the device's memory, what data, states, gradients and activations may take.
_SHARE_OF_MEMORY = 0.9


class SharedProgram:
    """The compiled steps of the runs of a group.

    Args:
        model: of one of the runs, which those of all others equal but for their numbers.
        feed: of the same run.
        group: of the runs.
    """

    def __init__(self, model: keras.Model, feed: Feed, group: RunGroup) -> None:
        self._model = model
        self._feed = feed
        self._group = group
        self._steps = Steps(model, feed.settings.augment.size)
        mapped = jax.default_backend() != "cpu" if group.mapped is None else group.mapped
        self._way: _Mapped | _InTurns = (
            _Mapped(group.count) if mapped else _InTurns(os.cpu_count() or 1)
        )
        self._said = False
        self._pace = Pace()
        self._splits: dict[str, Split] = {}
        self._programs: dict[Any, Any] = {}

    def split(self, feed: Feed, name: str) -> Split:
        """A split of the data on the device, the same for all runs."""
        if name not in self._splits:
            self._splits[name] = load(feed, name)
        return self._splits[name]

    def train(self, requests: Sequence[Request]) -> list[tuple[dict[str, NDArray[Any]], State]]:
        """The next steps of runs that are at one place: their figures, and their states."""
        given = requests[0].arguments
        data, first = given["data"], given["first"]
        count = self._pace.steps(len(given["places"]) - first)
        where = [np.int32(each) for each in (given["epoch"], first, count)]
        runs = [_Run.of(request) for request in requests]
        answers, seconds = self._answers(self._train_one, runs, data, where)
        self._pace.took(count, seconds)
        return [
            ({name: values[:count] for name, values in logs.items()}, state)
            for logs, state in answers
        ]

    def test(self, requests: Sequence[Request]) -> list[tuple[dict[str, float], list[Any]]]:
        """The figures of runs over the same batches, and the states of their metrics."""
        data = requests[0].arguments["data"]
        runs = [_Run.of(request) for request in requests]
        answers, _ = self._answers(self._test_one, runs, data, [])
        return [
            ({name: float(value) for name, value in logs.items()}, metrics)
            for logs, metrics in answers
        ]

    def _train_one(
        self, state: State, numbers: Mapping[str, Any], data: Split, places: Any, *where: Any
    ) -> Any:
        with traced_numbers(self._model, self._feed, numbers):
            return self._steps.train(state, data, places, *where)

    def _test_one(self, state: State, numbers: Mapping[str, Any], data: Split, places: Any) -> Any:
        return self._steps.test(state, data, places)

    def _answers(
        self, one: Callable[..., Any], runs: Sequence[_Run], data: Split, where: list[Any]
    ) -> tuple[list[Any], float]:
        """What the program of `one` answers to `runs`, and the seconds without its compilation.

        Where the device has not the memory, half as many go through a step at once from now on: how
        much is free, and what the kernels take besides, is known to nobody beforehand.
        """
        while True:
            try:
                program = self._program(one, runs[0], data, where)
                start = time.monotonic()
                answers = self._way.run(program, runs, data, where)
                return answers, time.monotonic() - start
            except Exception as error:
                fewer = self._way.halved()
                if fewer is None or not is_lack_of_memory(error):
                    raise
            self._way = fewer
            # They hold memory, too.
            self._programs.clear()
            self._group.say(f"not enough memory: {fewer.told} from now on")

    def _program(self, one: Callable[..., Any], run: _Run, data: Split, where: list[Any]) -> Any:
        """The compiled program for batches such as those of `run`."""
        while True:
            key = (one, self._way.at_once, run.places.shape)
            if key not in self._programs:
                arguments = self._way.arguments([run], data, where)
                lowered = jax.jit(self._way.program(one, len(where))).lower(*arguments)
                # Not left to `jit`: building a model clears what that has kept.
                self._programs[key] = lowered.compile()
            fewer = self._way.halved()
            if fewer is None or self._fits(self._programs[key], run, data):
                self._say(self._programs[key], data)
                return self._programs[key]
            self._way = fewer

    def _fits(self, program: Any, run: _Run, data: Split) -> bool:
        """Whether the device has the memory, as far as is known beforehand."""
        there = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
        of_program = _bytes_besides(data, program)
        if there is None or of_program is None:
            return True
        waiting = max(0, self._group.count - self._way.at_once * self._way.programs)
        taken = of_program * self._way.programs + waiting * _bytes(run.state) + _bytes(data)
        return bool(taken <= _SHARE_OF_MEMORY * there)

    def _say(self, program: Any, data: Split) -> None:
        """Say once what a run takes."""
        of_program = _bytes_besides(data, program)
        if self._said or of_program is None:
            return
        self._said = True
        self._group.say(
            f"{pluralize(self._group.count, 'run')} in one program, {self._way.told}: "
            f"{byte_size(of_program // self._way.at_once)} of memory each"
        )


@dataclass(frozen=True)
class _Run:
    """What the program has of one run."""

    state: State
    numbers: Mapping[str, Any]
    places: Any

    @classmethod
    def of(cls, request: Request) -> _Run:
        given = request.arguments
        return cls(given["state"], given["numbers"], given["places"])


class _InTurns:
    """A program of one run, for each of them.

    Args:
        programs: how many at a time.
    """

    at_once = 1

    def __init__(self, programs: int) -> None:
        self.programs = programs
        self.told = f"in turns of {programs}"

    def halved(self) -> _InTurns | None:
        """The way with half as many at a time; None where there is only one."""
        return _InTurns(-(-self.programs // 2)) if self.programs > 1 else None

    def program(self, one: Callable[..., Any], shared: int) -> Callable[..., Any]:
        return one

    def arguments(self, runs: Sequence[_Run], data: Split, where: list[Any]) -> tuple[Any, ...]:
        (run,) = runs
        return (run.state, run.numbers, data, run.places, *where)

    def run(
        self, program: Any, runs: Sequence[_Run], data: Split, where: list[Any]
    ) -> list[tuple[dict[str, NDArray[Any]], Any]]:
        def answer(run: _Run) -> Any:
            logs, state = program(*self.arguments([run], data, where))
            return jax.device_get(logs), state

        # The steps of a small net leave cores idle, too.
        with ThreadPoolExecutor(self.programs) as cores:
            return list(cores.map(answer, runs))


class _Mapped:
    """A program of several runs, mapped over them.

    Args:
        at_once: how many.
    """

    programs = 1

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.told = f"{at_once} at once"

    def halved(self) -> _Mapped | None:
        """The way with half as many at once; None where there is only one."""
        return _Mapped(-(-self.at_once // 2)) if self.at_once > 1 else None

    def program(self, one: Callable[..., Any], shared: int) -> Callable[..., Any]:
        """`one` for lists of states, numbers and places; the data and the rest are shared."""
        over = jax.vmap(one, in_axes=(0, 0, None, 0, *[None] * shared))

        def many(states: Any, numbers: Any, data: Split, places: Any, *where: Any) -> Any:
            stacked = [
                jax.tree.map(lambda *values: jnp.stack(values), *each)
                for each in (states, numbers, places)
            ]
            outputs = over(*stacked[:2], data, stacked[2], *where)
            return [_part(outputs, number) for number in range(len(states))]

        return many

    def arguments(self, runs: Sequence[_Run], data: Split, where: list[Any]) -> tuple[Any, ...]:
        # Who has left has a place still, or all would be compiled again.
        slots = [*runs, *[runs[0]] * (self.at_once - len(runs))]
        columns = ([each.state for each in slots], [each.numbers for each in slots])
        return (*columns, data, [each.places for each in slots], *where)

    def run(
        self, program: Any, runs: Sequence[_Run], data: Split, where: list[Any]
    ) -> list[tuple[dict[str, NDArray[Any]], Any]]:
        answers: list[Any] = []
        for first in range(0, len(runs), self.at_once):
            some = runs[first : first + self.at_once]
            answers += self._kept_apart(program, some, data, where)
        return answers

    def _kept_apart(
        self, program: Any, runs: Sequence[_Run], data: Split, where: list[Any]
    ) -> list[Any]:
        """The answers of runs none of which has seen a number that is none of another's.

        A grouped convolution may be computed as one with zeros between the groups, and zero times
        infinity is no number: runs whose loss is not finite do these steps again, each alone.
        """

        def answers(runs: Sequence[_Run]) -> list[Any]:
            outputs = program(*self.arguments(runs, data, where))
            return [(jax.device_get(logs), state) for logs, state in outputs[: len(runs)]]

        seen = answers(runs)
        if len(runs) > 1:
            for number, (logs, _) in enumerate(seen):
                if not np.isfinite(logs["loss"]).all():
                    (seen[number],) = answers([runs[number]])
        return seen


def _part(tree: Any, number: int) -> Any:
    return jax.tree.map(lambda value: value[number], tree)


def _bytes(tree: Any) -> int:
    return sum(int(each.nbytes) for each in jax.tree.leaves(tree))


def _bytes_besides(data: Split, program: Any) -> int | None:
    """What a compiled program takes besides the data; None where the device does not say."""
    sizes = program.memory_analysis()
    if sizes is None:
        return None
    whole = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    return int(whole + sizes.temp_size_in_bytes - _bytes(data))


class GroupedProgram:
    """The shared program as one run of a group sees it.

    Args:
        model: of the run.
        feed: of the run.
        run: the run in its group.
    """

    def __init__(self, model: keras.Model, feed: Feed, run: GroupedRun) -> None:
        if run.group.program is None:
            run.group.program = SharedProgram(model, feed, run.group)
        self._shared: SharedProgram = run.group.program
        self._model = model
        self._run = run
        self._numbers = numbers_of(model, feed.settings)

    def split(self, feed: Feed, name: str) -> Split:
        return self._shared.split(feed, name)

    def train(
        self, data: Split, places: jax.Array, epoch: int, first: int
    ) -> dict[str, NDArray[np.float32]]:
        # Of an epoch, the whole batches come before the smaller one.
        place = (epoch, TRAIN, -places.shape[1], first)
        arguments = {"data": data, "places": places, "epoch": epoch, "first": first}
        logs: dict[str, NDArray[np.float32]]
        logs, state = self._meet(place, self._shared.train, arguments, optimizer=True)
        assign(self._model, state)
        return logs

    def test(self, data: Split, places: NDArray[np.int32], epoch: int) -> dict[str, float]:
        place = (epoch, TEST, -places.shape[1], 0)
        arguments = {"data": data, "places": places}
        logs: dict[str, float]
        logs, metrics = self._meet(place, self._shared.test, arguments, optimizer=False)
        assign_metrics(self._model, metrics)
        return logs

    def _meet(
        self,
        place: tuple[int, ...],
        answer: Callable[[Sequence[Request]], Any],
        arguments: Mapping[str, Any],
        *,
        optimizer: bool,
    ) -> Any:
        state = state_of(self._model, optimizer=optimizer)
        more = {"state": state, "numbers": self._numbers}
        return self._run.meet(Request(place, {**more, **arguments}, answer))
