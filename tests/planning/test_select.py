import pytest
import torch
from conftest import memory_checkpoint

from momos_compress import MomosError, open_checkpoint
from momos_compress.planning.select import select

STATE = {
    "conv.weight": torch.zeros(4, 3, 3, 3),
    "conv.bias": torch.zeros(4),
    "bn.running_mean": torch.zeros(4),
    "bn.num_batches_tracked": torch.tensor(3),
    "table": torch.zeros(8, 8),
    "index": torch.zeros(8, 8, dtype=torch.int64),
    "eca.conv.weight": torch.zeros(1, 1, 3),
    "empty": torch.zeros(0, 5),
}


def names(**options: object) -> list[str]:
    return [info.name for info in select(memory_checkpoint(STATE), **{"s": 4, **options}).chosen]  # type: ignore[arg-type]


def test_matrices_take_part_and_all_else_has_a_reason() -> None:
    selection = select(memory_checkpoint(STATE), s=4)
    assert [info.name for info in selection.chosen] == ["conv.weight", "table"]
    assert selection.left_out == {
        "conv.bias": "fewer than two dimensions",
        "bn.running_mean": "fewer than two dimensions",
        "bn.num_batches_tracked": "not in floating point",
        "index": "not in floating point",
        "eca.conv.weight": "fewer values than one block of 4",
        "empty": "no values",
    }
    assert len(selection.warnings) == 1
    assert "eca.conv.weight [1, 1, 3]" in selection.warnings[0]


def test_buffers_of_the_architecture_pass_through() -> None:
    checkpoint = memory_checkpoint(STATE, buffers=frozenset({"table"}))
    assert select(checkpoint, s=4).left_out["table"] == "a buffer"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"exclude": ["table"]}, ["conv.weight"]),
        ({"exclude": ["re:^conv"]}, ["table"]),
        ({"include": ["*.bias"]}, ["conv.bias"]),
        ({"include": ["conv.*"], "exclude": ["*.bias"]}, ["conv.weight"]),
        ({"include": ["re:bias|table"]}, ["conv.bias", "table"]),
        ({"s": 3}, ["conv.weight", "table", "eca.conv.weight"]),
    ],
)
def test_patterns(options: dict[str, object], expected: list[str]) -> None:
    assert names(**options) == expected


def test_a_glob_spans_the_whole_name() -> None:
    assert names(exclude=["conv"]) == ["conv.weight", "table"]


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_that_matches_nothing_is_a_warning(option: str) -> None:
    options = {option: ["nothing*", "*"] if option == "include" else ["nothing*"]}
    selection = select(memory_checkpoint(STATE), s=1, **options)  # type: ignore[arg-type]
    assert any(f"`{option}` 'nothing*' matches no tensor" in warning for warning in selection.warnings)


def test_a_broken_expression_is_told() -> None:
    with pytest.raises(MomosError, match=r"'re:\(' is not a regular expression"):
        names(exclude=["re:("])


def test_nothing_left_is_an_error_with_the_way_out() -> None:
    with pytest.raises(MomosError, match=r"no tensor to compress .*`include='PATTERN'`"):
        select(memory_checkpoint({"b": torch.zeros(9)}), s=4)
    with pytest.raises(MomosError, match=r"s = 64 is over the size of every eligible tensor.*lower `s` to 9 or less"):
        select(memory_checkpoint({"b": torch.zeros(3, 3)}), s=64)
    with pytest.raises(MomosError, match="holds no tensors"):
        select(memory_checkpoint({}), s=4)


def test_the_papers_protocol_takes_all_trainable_parameters_in_order() -> None:
    checkpoint = open_checkpoint("digits")
    selection = select(checkpoint, s=64, protocol="paper")
    assert tuple(info.name for info in selection.chosen) == checkpoint.parameters
    assert selection.left_out["bn1.running_mean"] == "not a trainable parameter"
    with pytest.raises(MomosError, match="drop `include`"):
        select(checkpoint, s=4, protocol="paper", exclude=["x"])
    with pytest.raises(MomosError, match="with `arch`"):
        select(memory_checkpoint(STATE), s=4, protocol="paper")
