"""What the library says in Python's words is shown in those of the command line."""

import pickle

import pytest

from momos_cli.exits import option, options, warn, with_options
from momos_cli.options import print_json
from momos_compress.errors import FormatError, MomosError, SourceError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`rate_weight` must lie in 0..100, not 5", "--rate-weight must lie in 0..100, not 5"),
        ("use `calibrate='none'`, or raise `s`", "use --calibrate none, or raise --s"),
        ("use `pretrained=False`", "use --no-pretrained"),
        ("go on with `resume=True`", "go on with --resume"),
        ("name it: `checkpoint=FILE`", "name it: --checkpoint FILE"),
        ("ask for `q=8` or `target_size='5 MB'`", "ask for --q 8 or --target-size '5 MB'"),
        ("another name with `output`", "another name with --output"),
        ("the file `weights.bin` and `nothing`", "the file `weights.bin` and `nothing`"),
        ("`betas` must lie in [0, 1)", "`betas` must lie in [0, 1)"),
        ("`nothing=False`, `nothing='x'`, `resume=False`", "`nothing=False`, `nothing='x'`, `resume=False`"),
        ("'s' is no `S`, and `` is empty, and so is `", "'s' is no `S`, and `` is empty, and so is `"),
        ("no setting", "no setting"),
    ],
)
def test_settings_become_options(text: str, shown: str) -> None:
    assert with_options(text) == shown


def test_options_are_those_of_all_commands() -> None:
    assert {"--c", "--output", "-o", "--no-bdm", "--teacher", "--from-step", "--csv", "--json"} <= options()
    assert not options() & {"--betas", "--measures", "--settings", "--no-resume", "MODEL"}
    assert option("norm_learning_rate") in options()


def test_warnings_name_options(capsys: pytest.CaptureFixture[str]) -> None:
    warn(["`exclude` 'x' matches no tensor", "plain"])
    print_json({"warnings": ["`exclude` 'x' matches no tensor"], "name": "`exclude`"})
    out, err = capsys.readouterr()
    assert err == "warning: --exclude 'x' matches no tensor\nwarning: plain\n"
    assert out == '{"warnings": ["--exclude \'x\' matches no tensor"], "name": "`exclude`"}\n'


@pytest.mark.parametrize("kind", [MomosError, FormatError, SourceError])
def test_an_error_carries_its_setting_through_another_process(kind: type[MomosError]) -> None:
    error = pickle.loads(pickle.dumps(kind("`s` is 65", setting="s")))
    assert (type(error), str(error), error.setting) == (kind, "`s` is 65", "s")
    assert kind("no single setting").setting is None
