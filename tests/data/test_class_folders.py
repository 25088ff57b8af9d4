"""What folders say of the files in them, and what they must not be taken to say."""

from __future__ import annotations

import pytest

from convforge.errors import InputError
from convforge.pipeline.data.preparation.sources.class_folders import Meaning, meanings

NO_CLASS = Meaning(problem="in no class folder")
DEEPER = Meaning(problem="lies deeper than CLASS/image, in no train/, validation/ or test/")
DEEPER_IN_TRAIN = Meaning(problem="lies deeper than train/CLASS/image")


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["7", "8"], [Meaning(label="7"), Meaning(label="8")]),
        (["./7", "./8"], [Meaning(label="7"), Meaning(label="8")]),
        (["digits/7", "digits/8"], [Meaning(label="7"), Meaning(label="8")]),
        (["a/b/c/7", "a/b/c/8"], [Meaning(label="7"), Meaning(label="8")]),
        (["a/b/7", "a/b/8", "a"], [Meaning(label="7"), Meaning(label="8"), NO_CLASS]),
        (["", "7", "8"], [NO_CLASS, Meaning(label="7"), Meaning(label="8")]),
        (["train/cat", "test/cat"], [Meaning("train", "cat"), Meaning("test", "cat")]),
        (["cifar/train/cat", "cifar/test/cat"], [Meaning("train", "cat"), Meaning("test", "cat")]),
        (["Training/a", "VAL/a"], [Meaning("train", "a"), Meaning("validation", "a")]),
        (["valid/a", "testing/a"], [Meaning("validation", "a"), Meaning("test", "a")]),
        (["train/cat"], [Meaning("train", "cat")]),
        (["only"], [Meaning(label="only")]),
        (["around/only"], [Meaning(label="only")]),
        # Vehicles: a class may be called as a split is.
        (["train", "car"], [Meaning(label="train"), Meaning(label="car")]),
        (["cat", "dog/small"], [Meaning(label="cat"), DEEPER]),
        (["cat/2019", "dog/2019"], [DEEPER, DEEPER]),
        (["train/cat/small", "train/dog"], [DEEPER_IN_TRAIN, Meaning("train", "dog")]),
        # Kaggle's unlabelled test images.
        (
            ["train/cat", "test"],
            [Meaning("train", "cat"), Meaning(problem="in test/, but in no class folder")],
        ),
    ],
)
def test_a_folder_says_split_and_class_or_why_not(
    folders: list[str], expected: list[Meaning]
) -> None:
    assert list(meanings(folders).values()) == expected


def test_folders_inside_and_outside_splits_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"dog/ lies in no train/.* but train/cat/ does"):
        meanings(["train/cat", "dog"])
