"""What every registered data set keeps to."""

from collections.abc import Iterator
from typing import Any

import calibration_fixtures
import pytest
from calibration_inputs import save_images
from PIL import Image

from momos_compress import MomosError
from momos_compress.data.registry import (
    DATASETS,
    LabelledImages,
    check_disjoint,
    open_dataset,
    register_dataset,
    same_data,
)

work = calibration_fixtures.work


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(DATASETS)
    yield
    DATASETS.clear()
    DATASETS.update(before)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_items_are_images_with_their_class(name: str) -> None:
    dataset = DATASETS[name]()
    count = len(dataset)
    assert count == len(dataset.targets) > 0
    assert set(dataset.targets) == set(range(len(set(dataset.targets))))
    for index in (0, count // 2, count - 1):
        image, target = dataset[index]
        assert isinstance(image, Image.Image)
        assert type(target) is int
        assert target == dataset.targets[index]
        assert image.tobytes() == dataset[index][0].tobytes()


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_transform_sees_every_image_and_belongs_to_one_use(name: str) -> None:
    dataset = DATASETS[name]()
    assert dataset.transform is None
    size = dataset[0][0].size
    dataset.transform = lambda image: ("seen", image.size)
    assert dataset[0] == (("seen", size), dataset.targets[0])
    assert DATASETS[name]().transform is None


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_name_opens_the_data_set_with_its_number_of_classes(name: str) -> None:
    dataset, classes = open_dataset(name)
    assert len(dataset) == len(DATASETS[name]())
    assert classes == max(DATASETS[name]().targets) + 1


def test_a_folder_opens_with_its_classes_in_the_mode_of_the_channels() -> None:
    folder = str(save_images("images"))
    for channels, mode in ((1, "L"), (3, "RGB")):
        dataset, classes = open_dataset(folder, channels)
        assert (len(dataset), classes, dataset[0][0].mode) == (12, 2, mode)


@pytest.mark.usefixtures("registered")
def test_a_registered_data_set_is_opened_by_its_name() -> None:
    class Two:
        targets = (0, 1)
        transform: Any = None

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return Image.new("L", (8, 8)), self.targets[index]

    def two() -> LabelledImages:
        return Two()

    register_dataset("two", two)
    dataset, classes = open_dataset("two")
    assert (len(dataset), classes) == (2, 2)


def test_a_name_that_is_taken_raises() -> None:
    with pytest.raises(ValueError, match="data set 'digits' is registered already"):
        register_dataset("digits", DATASETS["digits-train"])


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(MomosError, match=r"no image folder or tar 'gone'; a data set by name is one of: .*digits"):
        open_dataset("gone")


def test_data_inside_other_data_are_the_same() -> None:
    save_images("images")
    assert same_data("images", "./images/a")
    assert not same_data("images", "other")
    assert not same_data("digits", "digits-train")
    check_disjoint("images", None)
    check_disjoint("digits", "digits-train")
    with pytest.raises(MomosError, match=r"^`data='images/a'` and `calibrate='images'` are the same images"):
        check_disjoint("images/a", "images")
