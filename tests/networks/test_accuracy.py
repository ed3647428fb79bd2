"""Accuracy, against a count by hand."""

import pytest
import torch
from calibration_inputs import save_images
from timm.data import create_transform
from torch import nn

from momos_compress import MomosError, evaluate, open_checkpoint
from momos_compress.data.preprocessing import preprocessing
from momos_compress.data.registry import DATASETS
from momos_compress.networks.load import model_of


@pytest.mark.usefixtures("one_thread")
def test_accuracy_is_the_share_of_images_ranked_first_and_among_five() -> None:
    model, dataset = model_of(open_checkpoint("digits")), DATASETS["digits"]()
    told: list[tuple[str, int, int]] = []
    found = evaluate(model, "digits", batch_size=100, progress=lambda *words: told.append(words))
    transform = create_transform(**preprocessing(model))
    with torch.inference_mode():
        scores = model(torch.stack([transform(dataset[index][0]) for index in range(len(dataset))]))
    order = scores.argsort(dim=1, descending=True)
    hits = order == torch.tensor(dataset.targets)[:, None]
    assert found.images == len(dataset) == 450
    assert found.top1 == pytest.approx(100 * float(hits[:, 0].double().mean()))
    assert found.top5 == pytest.approx(100 * float(hits[:, :5].sum(dim=1).double().mean()))
    assert found.top1 < found.top5
    assert told == [("accuracy", 100, 450)] * 4 + [("accuracy", 50, 450)]


def test_a_network_that_is_not_timms_is_refused() -> None:
    with pytest.raises(MomosError, match="needs an image classifier of timm, and this is Linear"):
        evaluate(nn.Linear(2, 2), "digits")


def test_more_classes_than_outputs_are_refused(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    save_images("images", 22, classes="ab")
    for name in "cdefghijk":
        save_images("images", 2, classes=2 * name)
    with pytest.raises(MomosError, match="images has 11 classes and CifarResNet only 10 outputs"):
        evaluate(model_of(open_checkpoint("digits")), "images")
