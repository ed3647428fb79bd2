"""Images of image networks."""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import calibration_fixtures
import numpy as np
import pytest
import timm
import torch
from calibration_inputs import (
    EXPECTED_IMAGES,
    IMAGES,
    contained,
    directory,
    one_image,
    picture,
    rows,
    save_images,
    saved_tensor,
    seen_by,
    text,
)
from PIL import Image
from torch import nn

from momos_compress import MomosError, evaluate
from momos_compress.data import images as calibration_images
from momos_compress.data.draws import open_calibration
from momos_compress.data.registry import DATASETS

work, network = calibration_fixtures.work, calibration_fixtures.network


def no_tar() -> str:
    Path("bad.tar").write_bytes(b"\0" * 100)
    return "bad.tar"


@pytest.mark.parametrize("kind", ["folder", "flat", "tar", "digits", "grey"])
def test_images_are_transformed_as_evaluate_does(kind: str, network: nn.Module) -> None:
    data = kind
    if kind == "digits":
        network = timm.create_model("digits_resnet8")
    elif kind == "grey":
        save_images("grey")
        network = timm.create_model("digits_resnet8")
    else:
        save_images("images" if kind == "tar" else kind, classes="" if kind == "flat" else "ab")
    if kind == "tar":
        data = "images.tar"
        with tarfile.open(data, "w") as tar:
            tar.add("images")
    expected = seen_by(network, data)
    calibration = open_calibration(data, network, seed=0)
    assert calibration.samples == len(expected)
    assert calibration.description == f"{len(expected)} images of {data}"
    assert contained(rows(calibration), expected) == contained(expected, expected)


def test_the_draw_depends_on_names_and_not_on_how_the_file_system_lists_them(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To timm's natural order, "1.png", "01.png" and "001.png" are the same name.
    for number in range(6):
        picture(number).save(f"{'0' * number}1.png")
    from timm.data.readers import reader_image_folder

    walk = reader_image_folder.os.walk
    expected = rows(open_calibration(".", network, seed=0))

    def backwards(*arguments: Any, **options: Any) -> Iterator[Any]:
        for root, directories, files in walk(*arguments, **options):
            yield root, directories, sorted(files, reverse=seen.append(root) is None)

    seen: list[str] = []
    monkeypatch.setattr(reader_image_folder.os, "walk", backwards)
    assert torch.equal(rows(open_calibration(".", network, seed=0)), expected)
    monkeypatch.undo()
    assert seen


def test_a_large_set_is_decoded_again_on_each_pass(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    data = str(save_images("images"))
    kept = open_calibration(data, network, seed=0)
    monkeypatch.setattr(calibration_images, "KEPT_BYTES", 0)
    large = open_calibration(data, network, seed=0)
    assert torch.equal(rows(large), rows(kept))
    for path in Path("images").rglob("*.png"):
        path.unlink()
    assert len(rows(kept)) == IMAGES
    with pytest.raises(MomosError, match=r"\.png: an image that cannot be read"):
        rows(large)


def test_images_that_cannot_be_read_are_skipped_and_counted(network: nn.Module) -> None:
    data = str(save_images("images", 40))
    sound = rows(open_calibration(data, network, seed=0))
    Path("images/a/0.png").write_bytes(b"no image")
    Path("images/b/1.png").write_bytes(b"")
    Path("images/a/2.png").write_bytes(Path("images/a/2.png").read_bytes()[:200])
    calibration = open_calibration(data, network, seed=0)
    assert calibration.samples == 37
    assert calibration.warnings[0] == "3 images of images could not be read and were skipped"
    assert contained(rows(calibration), sound) == [1] * 37
    # Others are drawn in their place.
    full = open_calibration(data, network, samples=32, seed=0, held_out=5)
    assert (full.samples, full.held_out.samples) == (32, 5)  # type: ignore[union-attr]
    with pytest.raises(MomosError, match=r"images has 37 images that can be read, too few for 38.*; ask for fewer"):
        open_calibration(data, network, samples=38, seed=0)
    for path in [*Path("images").rglob("*.png")][:25]:
        path.write_bytes(b"no image")
    with pytest.raises(MomosError, match=r"images: 2\d of the \d+ images tried cannot .*\.png: an image.*; replace or"):
        open_calibration(data, network, seed=0)


def test_an_image_of_absurd_size_is_one_that_cannot_be_read(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(save_images("images"))
    picture(0, (400, 400)).save("images/a/huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 70_000)
    calibration = open_calibration(data, network, seed=0)
    assert calibration.warnings[0] == "1 image of images could not be read and was skipped"
    with pytest.raises(MomosError, match=r"huge\.png: an image that cannot be read"):
        evaluate(network, data)


def test_images_of_another_kind_than_the_networks(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MomosError, match=r"digits: an image is \[1, 160, 160\] uint8 .*ResNet takes \[3, 160, 160\]"):
        open_calibration("digits", network, seed=0)

    class Deep:
        targets = (0, 1)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return self.transform(Image.fromarray(np.zeros((8, 8), np.float32))), 0  # type: ignore[attr-defined]

    monkeypatch.setitem(DATASETS, "deep", Deep)
    with pytest.raises(MomosError, match=r"deep: an image is \[1, 8, 8\] float32"):
        open_calibration("deep", timm.create_model("digits_resnet8"), seed=0)


def test_a_network_whose_mean_is_of_other_channels() -> None:
    save_images("images")
    network = timm.create_model("digits_resnet8", pretrained_cfg_overlay={"mean": (0, 0, 0), "std": (1, 1, 1)})
    with pytest.raises(MomosError, match=r"takes \[1, 8, 8\], and its mean is of 3 channels"):
        open_calibration("images", network, seed=0)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: "gone", "no image folder or tar 'gone'; a data set by name is one of: .*digits"),
        (directory("empty"), f"empty: holds no images .*{EXPECTED_IMAGES}"),
        (directory("texts", text("texts/a.txt")), f"texts: holds no images .*which ResNet takes; {EXPECTED_IMAGES}"),
        (text("notes.txt"), f"notes.txt: ResNet takes images, and this is one .txt file; {EXPECTED_IMAGES}"),
        (text("notes"), "notes: ResNet takes images, and this is one plain file"),
        (saved_tensor("x.npy"), "x.npy: .* this is one .npy file"),
        (saved_tensor("x.pt"), "x.pt: .* this is one .pt file"),
        (one_image, f"one.png: .* this is one .png file; {EXPECTED_IMAGES}"),
        (no_tar, "bad.tar: not an image folder or a tar of one"),
        (directory("bad", text("bad/a.png")), "bad: 1 of the 1 image tried cannot be read.*a.png.*replace or remove"),
    ],
)
def test_data_that_are_no_images(write: Callable[[], str], message: str, network: nn.Module) -> None:
    with pytest.raises(MomosError, match=message) as error:
        open_calibration(write(), network, seed=0)
    assert "\n" not in str(error.value)
