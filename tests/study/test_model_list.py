import os
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import momos_zoo
from momos_compress import MomosError
from momos_compress.common.units import parse_size
from momos_compress.study.download_cache import make, make_room, used_bytes
from momos_compress.study.model_list import expand, read_list

FIGURE_2 = read_list(momos_zoo.FIGURE_2)
QUBD_NAMES = Path(__file__).resolve().parents[3] / "shared" / "docs" / "qubd_100_models.txt"
TEN = [
    "resnet18", "resnet50", "vit_base_patch16_224", "efficientnet_b0", "mobilenetv3_large_100", "vit_tiny_patch16_224",
    "mobilevit_s", "convnext_tiny", "swin_tiny_patch4_window7_224", "densenet121",
]  # fmt: skip


def test_figure_2_has_110_models_with_weights_under_exact_tags() -> None:
    assert len(FIGURE_2) == len(set(FIGURE_2)) == 110
    assert set(FIGURE_2) <= set(timm.list_pretrained())
    for name in FIGURE_2:
        config = timm.get_pretrained_cfg(name, allow_unregistered=False)
        assert config.has_weights, name
        assert name == f"{config.architecture}.{config.tag}"
    architectures = [name.partition(".")[0] for name in FIGURE_2]
    assert architectures[100:] == TEN
    if QUBD_NAMES.is_file():
        assert architectures[:100] == QUBD_NAMES.read_text().split()


@pytest.mark.slow
def test_figure_2_has_no_model_over_100_million_parameters() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib is new in Python 3.11")
    import tomllib

    for record in tomllib.loads(momos_zoo.FIGURE_2.read_text())["model"]:
        try:
            with torch.device("meta"):
                model = timm.create_model(record["name"])
        except (NotImplementedError, RuntimeError, ValueError):
            model = timm.create_model(record["name"])
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert count == record["parameters"] <= 100_000_000, record["name"]


def test_entries_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "many").mkdir()
    for name in ("b.safetensors", "a.safetensors"):
        save_file({"w": torch.zeros(3)}, tmp_path / "many" / name)
    (tmp_path / "many" / "notes.md").write_text("no weights")
    for name in ("one", "many/inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "list.txt").write_text("resnet18  # a comment\n\n# another\nmany\norg/model@main\n")
    (tmp_path / "list.toml").write_text('[[model]]\nname = "vgg11"\nparameters = 3\n')
    files = ["many/a.safetensors", "many/b.safetensors"]
    assert expand(["many"]) == [*files, "many/inner"]
    assert expand(["one"]) == ["one"]
    assert expand(["many/*.safetensors"]) == files
    assert expand(["m*y/*"]) == [*files, "many/inner"]
    assert expand(["list.txt"]) == ["resnet18", *files, "many/inner", "org/model@main"]
    assert expand(["list.toml", "digits", "list.toml", "hf-hub:org/x"]) == ["vgg11", "digits", "hf-hub:org/x"]
    assert expand(["resnet1[08].a1_in1k"]) == ["resnet18.a1_in1k"]


LISTS = {
    "empty.txt": "# nothing\n",
    "empty.toml": "",
    "no.toml": "model = 3",
    "nameless.toml": "[[model]]\nparameters = 3\n",
    "number.toml": "[[model]]\nname = 3\n",
    "broken.toml": "[[model",
}


@pytest.mark.parametrize("name", LISTS)
def test_what_is_no_list_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(LISTS[name])
    with pytest.raises(MomosError, match=rf"{name}: not a list of models"):
        expand([str(tmp_path / name)])


def test_entries_that_name_nothing_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for entry, message in [
        ("gone.toml", "no list of models"),
        (str(tmp_path / "empty"), "a directory without weights files"),
        (str(tmp_path / "*.safetensors"), "matches no weights file"),
        ("nosuchmodel*", "no pretrained timm model"),
    ]:
        with pytest.raises(MomosError, match=message):
            expand([entry])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", 20 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("500", 500),
        ("0", 0),
        ("7b", 7),
        ("2 kb", 2000),
        ("3M", 3 * 10**6),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "20XB", "1e", "nan", "inf", "20 GB GB", "1e30TB"])
def test_what_is_no_size_is_told(text: str) -> None:
    with pytest.raises(MomosError, match="no size; write it as 20GB"):
        parse_size(text)


def test_only_what_was_downloaded_is_dropped_and_only_above_the_limit(tmp_path: Path) -> None:
    cache, outside = tmp_path / "cache", tmp_path / "own.safetensors"
    blob = cache / "models--org--a" / "blobs" / "1"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x" * 100)
    link = cache / "models--org--a" / "snapshots" / "c" / "model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    other, single = cache / "models--org--b", cache / "old.pth"
    other.mkdir()
    (other / "blob").write_bytes(b"y" * 10)
    single.write_bytes(b"z" * 50)
    outside.write_bytes(b"mine")
    assert not make_room(cache, 160, (link, outside))
    assert link.exists()
    assert not make_room(cache, 0, (outside,))
    assert make_room(cache, 159, (link, outside))
    assert sorted(path.name for path in cache.iterdir()) == ["models--org--b", "old.pth"]
    assert make_room(cache, 0, (single,))
    assert [path.name for path in cache.iterdir()] == ["models--org--b"]
    assert outside.read_bytes() == b"mine"


class Listing:
    """What ``os.scandir`` gives, of a directory that changes once it has been listed."""

    def __init__(self, entries: list["os.DirEntry[str]"]) -> None:
        self.entries = iter(entries)

    def __enter__(self) -> "Listing":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> "Listing":
        return self

    def __next__(self) -> "os.DirEntry[str]":
        return next(self.entries)


def test_a_cache_is_counted_while_others_drop_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, half = tmp_path / "models--org--gone", tmp_path / "models--org--half"
    for directory in (gone, half):
        directory.mkdir()
        (directory / "blob").write_bytes(b"x" * 10)
    (half / "kept").write_bytes(b"y" * 7)
    assert used_bytes(tmp_path) == 27
    listed, real = [], os.scandir

    def scandir(path: str | Path) -> Listing:
        with real(path) as entries:
            listing = Listing(list(entries))
        listed.append(Path(path))
        if Path(path) == tmp_path:
            (gone / "blob").unlink()
            gone.rmdir()
        elif Path(path) == half:
            (half / "blob").unlink()
        return listing

    monkeypatch.setattr(os, "scandir", scandir)
    assert used_bytes(tmp_path) == 7
    assert listed == [tmp_path, half]  # both did go in between


def test_a_download_that_cannot_be_dropped_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    single = tmp_path / "cache" / "old.pth"
    single.parent.mkdir()
    single.write_bytes(b"z")

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "unlink", refuse)
    make_room(single.parent, 0, (single,))
    assert single.is_file()


def test_a_cache_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(
        MomosError, match=r"cache cannot hold downloads \(.*choose another results directory with `output`$"
    ):
        make(tmp_path / "cache")
