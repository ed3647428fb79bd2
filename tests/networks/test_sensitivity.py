"""What each compressed tensor does to outputs, against networks changed by hand."""

import json
import sys
from pathlib import Path

import pytest
import torch

from momos_cli import app as cli
from momos_compress import MomosError, MomosFile, Settings, compress, open_checkpoint
from momos_compress.container.inspection import tensor_rows
from momos_compress.data.draws import open_calibration
from momos_compress.networks.load import model_of
from momos_compress.networks.outputs import output_loss
from momos_compress.networks.sensitivity import sensitivity

TENSORS = ("conv1.weight", "linear.weight")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with two of its tensors compressed."""
    out = tmp_path_factory.mktemp("sensitivity") / "d.momos.safetensors"
    settings = Settings(k=4, include=TENSORS, calibrate="none", bdm=False)
    compress(open_checkpoint("digits"), settings, out)
    return out


def test_each_tensor_is_measured_alone_and_the_network_is_as_before(path: Path) -> None:
    file, original = MomosFile(path), model_of(open_checkpoint("digits"))
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    errors, inputs = sensitivity(file, original, "digits", samples=100, seed=0)
    assert inputs.samples == 100
    assert set(errors) == set(TENSORS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())
    batch = open_calibration("digits", original, samples=100, seed=0).read(range(100))
    for name in TENSORS:
        changed = model_of(open_checkpoint("digits"))
        changed.load_state_dict({**before, name: file.get(name)})
        with torch.inference_mode():
            expected = float(output_loss(changed(batch), original(batch), None))
        assert errors[name] == pytest.approx(expected, rel=1e-4)
        assert errors[name] > 0


def test_shares_are_of_file_distortion_and_output_error(path: Path) -> None:
    file = MomosFile(path)
    rows = {row["name"]: row for row in tensor_rows(file, {"conv1.weight": 3.0, "linear.weight": 1.0})}
    assert [rows[name]["output_share"] for name in TENSORS] == [0.75, 0.25]
    assert rows["bn1.bias"]["output_share"] is None
    assert rows["bn1.bias"]["distortion_share"] is None
    assert sum(rows[name]["distortion_share"] for name in TENSORS) == pytest.approx(1)
    size = path.stat().st_size
    assert all(row["byte_share"] == row["bytes"] / size for row in rows.values())
    assert "output_share" not in tensor_rows(file)[0]


def test_inspect_shows_the_shares(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["inspect", str(path), "--against", "digits", "--data", "digits", "--samples", "32"]
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["momos-compress", *words, *more])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
    out, err = capsys.readouterr()
    assert err == ""
    table, record = out.rstrip().rsplit("\n", 1)
    assert "% of file" in table
    assert "output error" in table
    rows = {row["name"]: row for row in json.loads(record)["tensors"]}
    assert sum(rows[name]["output_share"] for name in TENSORS) == pytest.approx(1)


def test_a_file_of_another_network_is_told(path: Path) -> None:
    other = model_of(open_checkpoint("momos_mlp", pretrained=False))
    with pytest.raises(MomosError, match=r"another network: .* has no conv1\.weight"):
        sensitivity(MomosFile(path), other, "digits", seed=0)
    wide = model_of(open_checkpoint("digits"))
    wide.conv1 = torch.nn.Conv2d(1, 32, 3)
    with pytest.raises(MomosError, match=r"conv1.weight is \[16, 1, 3, 3\] there, here \[32, 1, 3, 3\]"):
        sensitivity(MomosFile(path), wide, "digits", seed=0)
