"""A claim: a sentence of the lecture, and how it is to be decided, as `conf/claim/` has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, model_validator
from yaml import YAMLError

from convforge.errors import InputError
from convforge.geometry import ArgumentError
from convforge.pipeline.filesystem import checksum
from convforge.pipeline.settings.explanation import explain
from convforge.pipeline.settings.group import Group
from convforge.pipeline.settings.nearest import nearest

FOLDER = Path("conf") / "claim"
SCALES = FOLDER / "scale"

ScaleName: TypeAlias = Literal["digits", "cpu", "full"]
SCALE_NAMES: tuple[ScaleName, ...] = ("digits", "cpu", "full")
Rule: TypeAlias = Literal["difference", "ratio", "equivalence"]

_Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
_Positive: TypeAlias = Annotated[float, Field(gt=0)]
_Seeds: TypeAlias = Annotated[int, Field(ge=2, le=1000)]
_Rates: TypeAlias = Annotated[list[_Positive], Field(min_length=1, max_length=50)]


class Arm(Group):
    """One side of a comparison.

    Args:
        title: in a few words.
        overrides: that set it apart.
        at: more of them, at some scales.
    """

    title: str
    overrides: list[str] = Field(default_factory=list)
    at: dict[ScaleName, list[str]] = Field(default_factory=dict)


class Comparison(Group):
    """What is compared, and what counts as an effect.

    Args:
        title: the claim in one line.
        better: the arm that the lecture says does better.
        than: the arm that it is compared with; null where that is a published figure.
        published: that figure.
        figure: what decides; `convforge.pipeline.claims.figures` has them.
        rule: `difference` of the figure, `ratio` of it, or `equivalence` of the two arms.
        smallest_effect: in the figure's unit, or as a factor above 1 for a ratio: less does not
            count. By the scale where it is not the same at all.
        main: whether the claim's verdict is this one's; of one comparison alone it is.
    """

    title: str
    better: str
    than: str | None = None
    published: float | None = None
    figure: str
    rule: Rule = "difference"
    smallest_effect: _Positive | dict[ScaleName, _Positive]
    main: bool = False

    def smallest(self, scale: ScaleName) -> float:
        """The smallest effect that counts at a scale."""
        if isinstance(self.smallest_effect, dict):
            return self.smallest_effect[scale]
        return self.smallest_effect


class Scale(Group):
    """How large the experiments are.

    Args:
        title: in one line.
        model: of every run, where the claim has none of its own.
        overrides: of every run.
        seeds: how many runs each arm has.
        rates: the learning rates that each arm is tuned over.
        target: training error in percent that "fast" is measured to.
    """

    title: str
    model: str
    overrides: list[str]
    seeds: _Seeds
    rates: _Rates
    target: Annotated[float, Field(gt=0, lt=100)]


class ClaimScale(Group):
    """What a claim has otherwise than its scale.

    Args:
        overrides: after the scale's.
        instead: of the scale's overrides, where a net has a recipe of its own.
        without: arms that make no sense there; the comparisons with them are left out.
        seeds: how many, where not as many.
        rates: learning rates, where not the same.
        target: training error in percent, where not the same.
    """

    overrides: list[str] = Field(default_factory=list)
    instead: list[str] | None = None
    without: list[str] = Field(default_factory=list)
    seeds: _Seeds | None = None
    rates: _Rates | None = None
    target: Annotated[float, Field(gt=0, lt=100)] | None = None


class Claim(Group):
    """A sentence of the lecture and its protocol.

    Args:
        title: in one line.
        sentence: of the lecture, as it stands there.
        slide: its title.
        sources: the papers that it rests on, with their figures.
        method: what a reader must know of the protocol, in sentences.
        model: of every arm, where it is not the scale's.
        overrides: of every arm.
        arms: by name.
        tuned_by: the figure, of training or validation images, by which each arm's learning rate
            is chosen; null for arms that have their own.
        all_rates: whether every seed trains with every learning rate, since what is compared is
            over the rates.
        comparisons: the first, or the one that is `main`, gives the claim's verdict.
        scales: at which it is run.
    """

    title: str
    sentence: str
    slide: str
    sources: list[str]
    method: str
    model: str | None = None
    overrides: list[str] = Field(default_factory=list)
    arms: Annotated[dict[_Name, Arm], Field(min_length=1)]
    tuned_by: str | None
    all_rates: bool = False
    comparisons: Annotated[list[Comparison], Field(min_length=1)]
    scales: Annotated[dict[ScaleName, ClaimScale], Field(min_length=1)]

    @model_validator(mode="after")
    def _arms_are_there(self) -> Self:
        for comparison in self.comparisons:
            if (comparison.than is None) == (comparison.published is None):
                allowed = "than or published, one of both"
                raise ArgumentError("comparisons", comparison.title, allowed)
            for name in (comparison.better, comparison.than):
                if name is not None and name not in self.arms:
                    raise ArgumentError("comparisons", name, f"one of {', '.join(self.arms)}")
            if isinstance(comparison.smallest_effect, dict):
                missing = set(self.scales) - set(comparison.smallest_effect)
                if missing:
                    raise ArgumentError(
                        "comparisons",
                        sorted(comparison.smallest_effect),
                        f"a smallest_effect for {', '.join(sorted(missing))} too",
                    )
            if comparison.rule == "ratio" and min(self._smallest_of(comparison)) <= 1:
                raise ArgumentError(
                    "comparisons", min(self._smallest_of(comparison)), "a ratio above 1"
                )
        if sum(comparison.main for comparison in self.comparisons) > 1:
            raise ArgumentError("comparisons", "main", "one comparison that is main, or none")
        return self

    def _smallest_of(self, comparison: Comparison) -> list[float]:
        return [comparison.smallest(scale) for scale in self.scales]


class Protocol(Group):
    """A claim at one scale: everything that is fixed before the first run.

    Args:
        name: of the claim.
        scale: its name.
        claim: as its file has it.
        at_scale: as the scale's file has it.
        digest: of what both files say; a comment is no part of it.
    """

    name: str
    scale: ScaleName
    claim: Claim
    at_scale: Scale
    digest: str

    @property
    def seeds(self) -> list[int]:
        """Of the runs that are compared."""
        return list(range(self._own.seeds or self.at_scale.seeds))

    @property
    def rates(self) -> list[float]:
        """The learning rates that each arm is tuned over; none where the arms have their own."""
        if self.claim.tuned_by is None and not self.claim.all_rates:
            return []
        return self._own.rates or self.at_scale.rates

    @property
    def target(self) -> float:
        """Training error in percent that "fast" is measured to."""
        return self._own.target or self.at_scale.target

    @property
    def arms(self) -> dict[str, Arm]:
        """Those that there are at this scale."""
        left_out = self._own.without
        return {name: arm for name, arm in self.claim.arms.items() if name not in left_out}

    @property
    def comparisons(self) -> list[Comparison]:
        """Those of arms that there are at this scale."""
        return [
            each
            for each in self.claim.comparisons
            if each.better in self.arms and (each.than is None or each.than in self.arms)
        ]

    @property
    def main_comparison(self) -> int:
        """Which of the comparisons gives the verdict."""
        return next((n for n, each in enumerate(self.comparisons) if each.main), 0)

    @property
    def _own(self) -> ClaimScale:
        return self.claim.scales[self.scale]

    def overrides(self, arm: str) -> list[str]:
        """Of every run of an arm: the scale's, the claim's, its own; the last of each key."""
        given = [
            f"model={self.claim.model or self.at_scale.model}",
            *(self.at_scale.overrides if self._own.instead is None else self._own.instead),
            *self.claim.overrides,
            *self._own.overrides,
            *self.claim.arms[arm].overrides,
            *self.claim.arms[arm].at.get(self.scale, ()),
        ]
        return list({item.partition("=")[0]: item for item in given}.values())


def claim_names(root: Path) -> list[str]:
    """The claims that there are."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml"))


def planned_claims(root: Path) -> dict[ScaleName, list[str]]:
    """The claims that are meant for each scale.

    Raises:
        InputError: a wrong key or value in a claim's file.
    """
    claims = {name: _parse(root / FOLDER / f"{name}.yaml", Claim) for name in claim_names(root)}
    return {
        scale: [name for name, claim in claims.items() if scale in claim.scales]
        for scale in SCALE_NAMES
    }


def files_of(name: str, scale: str) -> list[Path]:
    """The files that a protocol stands in, from the project's folder."""
    return [FOLDER / f"{name}.yaml", SCALES / f"{scale}.yaml"]


def read_protocol(root: Path, name: str, scale: str) -> Protocol:
    """The claim `name` at `scale`.

    Raises:
        InputError: there is no such claim or scale, the claim has no such scale, or a wrong key
            or value in their files.
    """
    names = claim_names(root)
    if name not in names:
        raise InputError(f"there is no claim {name!r}{nearest(name, names)}")
    if scale not in SCALE_NAMES:
        raise InputError(f"scale={scale} is not allowed: give {', '.join(SCALE_NAMES)}")
    files = files_of(name, scale)
    claim, at_scale = (
        _parse(root / file, schema) for file, schema in zip(files, (Claim, Scale), strict=True)
    )
    if scale not in claim.scales:
        known = ", ".join(claim.scales)
        raise InputError(f"scale={scale} is not allowed: the claim {name} is for {known}")
    return Protocol(
        name=name, scale=scale, claim=claim, at_scale=at_scale, digest=digest_of(claim, at_scale)
    )


def digest_of(claim: Claim, at_scale: Scale) -> str:
    """Of what the files of a protocol say."""
    return checksum.of_json([part.model_dump(mode="json") for part in (claim, at_scale)])


def _parse(path: Path, schema: type[Any]) -> Any:
    try:
        read = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(read, dict)
        config: Mapping[str, Any] = {str(key): value for key, value in read.items()}
        return schema.model_validate(config)
    except ValidationError as error:
        lines = dict.fromkeys(explain(item, config, schema) for item in error.errors())
        raise InputError("\n".join(f"{path.name}: {line}" for line in lines)) from error
    except (OSError, OmegaConfBaseException, YAMLError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
