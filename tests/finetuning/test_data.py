"""Images to train on, to choose by and to report on."""

import random
import re
from pathlib import Path

import pytest
import timm
import torch
from test_train_cifar import generate

import momos_zoo  # noqa: F401
from momos_compress import MomosError
from momos_compress.finetuning.epochs import EpochOrder, loader
from momos_compress.finetuning.images import ImageKind
from momos_compress.finetuning.settings import FinetuneSettings
from momos_compress.finetuning.splits import Splits, open_splits


def network(classes: int = 2) -> torch.nn.Module:
    return timm.create_model("cifar_resnet20", num_classes=classes)


def kind(classes: int = 2) -> ImageKind:
    return ImageKind(network(classes), "cpu")


def splits(
    root: Path, validation: str | float = 0.25, test: str | None = None, classes: int = 2, labels: bool = True
) -> Splits:
    return open_splits(kind(classes), str(root), validation, test, seed=0, labels=labels)


def test_what_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    root, other = generate(tmp_path / "train", 24), generate(tmp_path / "test", 10)
    found = splits(root, test=str(other))
    train, validation = set(found.train.order), set(found.validation.order)
    assert (len(train), len(validation)) == (18, 6)
    assert not train & validation
    assert found.test is not None
    assert len(found.test.order) == 10
    again = splits(root, test=str(other))
    assert (again.train.order, again.validation.order) == (found.train.order, found.validation.order)
    assert open_splits(kind(), str(root), 0.25, None, seed=1, labels=True).train.order != found.train.order
    named = splits(root, validation=str(other))
    assert (len(named.train.order), len(named.validation.order)) == (24, 10)


def test_sets_that_meet_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    root, other = generate(tmp_path / "train", 24), generate(tmp_path / "other", 10)
    for validation, test in ((str(root), None), (0.1, str(root / "a")), (str(other), str(other))):
        with pytest.raises(MomosError, match="are the same data"):
            splits(root, validation, test)
    with pytest.raises(MomosError, match="has 2 classes and CifarResNet 10 outputs"):
        splits(root, classes=10)
    with pytest.raises(MomosError, match=r"one class, and labels are needed.*loss='distil'"):
        splits(root / "a")
    assert not splits(root / "a", labels=False).train.labelled
    with pytest.raises(MomosError, match="one class, and labels are needed"):  # figures on them would mean nothing
        splits(root, 0.25, str(generate(tmp_path / "third", 6) / "a"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MomosError, match="holds no images"):
        splits(tmp_path / "empty")
    with pytest.raises(MomosError, match="too few to hold out"):
        splits(generate(tmp_path / "one", 1), labels=False)
    with pytest.raises(MomosError, match="no image folder or tar 'nowhere'"):
        open_splits(kind(), "nowhere", 0.1, None, seed=0, labels=True)


@pytest.mark.parametrize("augment", ["none", "shift", "shift-flip", "crop"])
def test_a_view_depends_on_seed_epoch_and_image_alone(augment: str, tmp_path: Path) -> None:
    images = splits(generate(tmp_path / "train", 24)).train
    views = [kind().views(images, augment=augment, seed=seed) for seed in (0, 0, 1)]  # type: ignore[arg-type]
    torch.manual_seed(5)
    random.seed(5)
    state = torch.get_rng_state()
    first = {place: views[0][place][0] for place in [(epoch, i) for epoch in range(3) for i in range(18)]}
    assert torch.equal(torch.get_rng_state(), state)
    assert random.random() == random.Random(5).random()
    for place in reversed(first):
        assert torch.equal(views[1][place][0], first[place])
    assert first[0, 0].dtype == torch.uint8
    assert first[0, 0].shape == (3, 32, 32)
    moved = any(not torch.equal(first[0, i], first[1, i]) for i in range(18))
    other = any(not torch.equal(first[0, i], views[2][0, i][0]) for i in range(18))
    assert moved == other == (augment != "none")
    with_workers = loader(views[0], EpochOrder(18, 6, seed=0), workers=2)
    alone = loader(views[1], EpochOrder(18, 6, seed=0))
    for (a, b), (c, d) in zip(with_workers, alone, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_an_order_goes_on_where_it_was_left() -> None:
    order = EpochOrder(23, 5, seed=3)
    whole = list(order)
    assert [len(batch) for batch in whole] == [5, 5, 5, 5]  # what is left over waits for another epoch's order
    order.start = 2
    assert list(order) == whole[2:]
    assert len(order) == 2
    order.epoch, order.start = 1, 0
    second = list(order)
    assert {epoch for batch in second for epoch, _ in batch} == {1}
    assert [p for b in second for _, p in b] != [p for b in whole for _, p in b]
    assert len({p for b in second for _, p in b}) == 20
    assert [len(batch) for batch in EpochOrder(3, 5, seed=0)] == [3]
    everything = EpochOrder(7, 5, seed=0, shuffle=False)
    assert [p for b in everything for _, p in b] == list(range(7))


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    root, broken = generate(tmp_path / "train", 8), generate(tmp_path / "broken", 2)
    (broken / "a" / "00.png").write_bytes(b"no image")
    images = splits(root, validation=str(broken)).validation
    place = next(i for i, index in enumerate(images.order) if "00.png" in str(images.data.reader.filename(index)))
    with pytest.raises(MomosError, match=r"00\.png: an image that cannot be read"):
        kind().views(images)[0, place]


def test_images_are_scaled_as_for_evaluation(tmp_path: Path) -> None:
    from timm.data import create_transform

    from momos_compress.data.preprocessing import preprocessing

    model, images = network(), splits(generate(tmp_path / "train", 8)).train
    views = ImageKind(model, "cpu").views(images)
    plain = create_transform(**preprocessing(model))
    image, target = images.data[images.order[0]]
    assert torch.allclose(ImageKind(model, "cpu").prepare(views[0, 0][0][None])[0], plain(image), atol=1e-6)
    assert views[0, 0][1] == target


def test_what_auto_stands_for() -> None:
    for name, expected in (("cifar_resnet20", "shift-flip"), ("digits_resnet8", "shift"), ("test_vit", "crop")):
        found = ImageKind(timm.create_model(name), "cpu")
        assert found._chosen("auto") == expected
        assert found._chosen("none") == "none"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"accumulate": 0}, "`accumulate` must be at least 1"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be positive"),
        ({"norm_learning_rate": 0.0}, "`norm_learning_rate` must be positive"),
        ({"smoothing": 1.0}, "`smoothing` must lie in [0, 1), not 1"),
        ({"validation": 1.0}, "`validation` must lie in (0, 1), not 1; it is a share"),
        ({"weight_decay": -1.0}, "`weight_decay` must be at least 0"),
        ({"mode": "other"}, "unknown `mode` 'other'; choose from codebook, paper"),
        ({"loss": "other"}, "unknown `loss`"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"mode": "paper", "q": 1}, "`q` must lie in 2..32"),
        ({"mode": "paper", "q": 33}, "`q` must lie in 2..32"),
        ({"q": 8}, "`q` rounds weights that train freely: it goes with `mode='paper'`"),
        ({"save_every": -1}, "`save_every` must be at least 0"),
    ],
)
def test_settings_out_of_range(values: dict[str, object], words: str) -> None:
    with pytest.raises(MomosError, match=re.escape(words)):
        FinetuneSettings(**values).resolved()  # type: ignore[arg-type]


def test_defaults_follow_the_mode() -> None:
    codebook, paper = FinetuneSettings().resolved(), FinetuneSettings(mode="paper").resolved()
    assert (codebook.learning_rate, codebook.optimiser, codebook.batch_norm) == (6e-3, "adam", "fixed")
    assert (paper.learning_rate, paper.optimiser, paper.batch_norm) == (1e-2, "momentum", "running")
