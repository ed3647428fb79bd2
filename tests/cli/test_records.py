"""Records of settings: each field explains itself, its bounds hold in Python and on the command line alike."""

import dataclasses
import math
import re
from typing import Annotated, Any, get_type_hints

import mistakes
import pytest
from cyclopts import App, Parameter

from momos_cli.app import app
from momos_cli.compress import Target
from momos_cli.exits import commands
from momos_cli.options import Origin
from momos_cli.records import Fields, Given, from_records
from momos_compress.errors import MomosError
from momos_compress.finetuning.settings import FinetuneSettings
from momos_compress.fitting.methods import METHODS
from momos_compress.measures.settings import MeasureSettings
from momos_compress.mosaic.blocks import MAX_BLOCK_SIZE
from momos_compress.planning.choices import check_compression
from momos_compress.settings import Settings, about, check_settings, choices_of, setting
from momos_compress.study.settings import StudySettings
from momos_compress.trace.settings import TraceSettings

Mistake, mistake, work = mistakes.Mistake, mistakes.mistake, mistakes.work

RECORDS = (Settings, FinetuneSettings, StudySettings, MeasureSettings, TraceSettings, Origin, Target)
NAN, INF = math.nan, math.inf

BOUNDS: dict[tuple[type, str], tuple[str, tuple[Any, ...], tuple[Any, ...]]] = {
    (Settings, "c"): ("capacity `c` must lie in (0, 1]", (1e-9, 1.0), (0.0, -1.0, 1.5, NAN, INF)),
    (Settings, "k"): ("the number of motifs `k` must be at least 1", (1, 2**24), (0, -1)),
    (Settings, "s"): ("block size `s` must lie in 1..64", (1, MAX_BLOCK_SIZE), (0, -1, MAX_BLOCK_SIZE + 1)),
    (Settings, "seed"): ("`seed` must be at least 0 and below 2^63", (0, 2**63 - 1), (-1, 2**63, 10**400)),
    (Settings, "samples"): ("`samples` must be at least 1", (1,), (0, -5)),
    (Settings, "bits"): ("bits a weight `bits` must lie in (0, 16]", (0.5, 16.0), (0.0, -1.0, 16.5, NAN, INF)),
    (Settings, "rate_weight"): ("`rate_weight` must lie in 0..100", (0.0, 100.0), (-0.5, 100.5, NAN, INF)),
    (Settings, "time_limit"): ("`time_limit` must be positive", (0.001, 1e9), (0.0, -1.0, NAN, INF)),
    (FinetuneSettings, "epochs"): ("`epochs` must be at least 1", (1,), (0,)),
    (FinetuneSettings, "batch_size"): ("`batch_size` must be at least 1", (1,), (0,)),
    (FinetuneSettings, "accumulate"): ("`accumulate` must be at least 1", (1,), (0,)),
    (FinetuneSettings, "temperature"): ("`temperature` must be positive", (1e-9,), (0.0, -1.0, NAN, INF)),
    (FinetuneSettings, "smoothing"): ("`smoothing` must lie in [0, 1)", (0.0, 0.99), (-0.1, 1.0, NAN)),
    (FinetuneSettings, "learning_rate"): ("`learning_rate` must be positive", (1e-9,), (0.0, -1.0, NAN, INF)),
    (FinetuneSettings, "norm_learning_rate"): ("`norm_learning_rate` must be positive", (1e-9,), (0.0, NAN, INF)),
    (FinetuneSettings, "scale_learning_rate"): ("`scale_learning_rate` must be positive", (1e-9,), (0.0, NAN, INF)),
    (FinetuneSettings, "betas"): ("`betas` must lie in [0, 1)", ((0.0, 0.999),), ((0.9, 1.0), (-0.1, 0.9), (NAN, 0.9))),
    (FinetuneSettings, "warmup_steps"): ("`warmup_steps` must be at least 0", (0,), (-1,)),
    (FinetuneSettings, "weight_decay"): ("`weight_decay` must be at least 0", (0.0,), (-1e-9, NAN, INF)),
    (FinetuneSettings, "validation"): ("`validation` must lie in (0, 1)", (0.001, 0.999), (0.0, 1.0, -0.5, NAN)),
    (FinetuneSettings, "workers"): ("`workers` must be at least 0", (0,), (-1,)),
    (FinetuneSettings, "save_every"): ("`save_every` must be at least 0", (0,), (-1,)),
    (FinetuneSettings, "density"): ("`density` must lie in (0, 1]", (1e-9, 1.0), (0.0, 1.1, NAN)),
    (FinetuneSettings, "q"): ("`q` must lie in 2..32", (2, 32), (1, 33)),
    (FinetuneSettings, "seed"): ("`seed` must be at least 0 and below 2^63", (0, 2**63 - 1), (-1, 2**63)),
    (StudySettings, "seeds"): ("`seeds` must be at least 1", (1,), (0,)),
    (StudySettings, "seed"): ("`seed` must be at least 0 and below 2^63", (0,), (-1, 2**63)),
    (MeasureSettings, "planes"): ("`planes` must lie in 1..16", (1, 16), (0, 17)),
    (MeasureSettings, "percentile"): ("`percentile` must lie in (50, 100]", (50.1, 100.0), (50.0, 100.1, NAN)),
    (TraceSettings, "from_step"): ("`from_step` must be at least 0", (0,), (-1,)),
    (TraceSettings, "planes"): ("`planes` must lie in 1..16", (1, 16), (0, 17)),
    (TraceSettings, "resamples"): ("`resamples` must be at least 1", (1,), (0,)),
    (TraceSettings, "seed"): ("`seed` must be at least 0 and below 2^63", (0,), (-1, 2**63)),
}
WORDS = {
    Settings: "w.safetensors",
    FinetuneSettings: "finetune w.safetensors --data nowhere",
    StudySettings: "study w.safetensors",
    MeasureSettings: "study w.safetensors",
    TraceSettings: "trace nowhere",
}


def case_id(value: Any) -> str | None:
    return f"{value[0].__name__}.{value[1]}" if isinstance(value, tuple) and isinstance(value[0], type) else None


@pytest.mark.parametrize("record", RECORDS)
def test_every_setting_explains_itself(record: type) -> None:
    for each in dataclasses.fields(record):
        text = about(each).help
        assert text.endswith("."), each.name
        assert len(text) > 10, each.name
        assert "--" not in text, each.name


def test_the_table_of_bounds_holds_every_bounded_setting() -> None:
    fields = {(record, each.name): about(each) for record in RECORDS for each in dataclasses.fields(record)}
    assert {key for key, known in fields.items() if known.bounded} == BOUNDS.keys()


@pytest.mark.parametrize("record", RECORDS)
def test_the_defaults_are_within_the_bounds(record: type) -> None:
    check_settings(record())


@pytest.mark.parametrize("key", BOUNDS, ids=case_id)
def test_bounds_hold_in_python(key: tuple[type, str]) -> None:
    (record, name), (words, good, bad) = key, BOUNDS[key]
    for value in good:
        check_settings(record(**{name: value}))
    for value in bad:
        with pytest.raises(MomosError, match=re.escape(f"{words}, not ")) as caught:
            check_settings(record(**{name: value}))
        assert caught.value.setting == name


@pytest.mark.parametrize("key", [key for key in BOUNDS if key[1] != "betas"], ids=case_id)
def test_bounds_hold_on_the_command_line(mistake: Mistake, key: tuple[type, str]) -> None:
    (record, name), (words, _, bad) = key, BOUNDS[key]
    option = f"--{name.replace('_', '-')}"
    for value in bad:
        message = mistake(*WORDS[record].split(), f"{option}={value}")
        shown = f"{value}" if isinstance(value, int) else f"{value:g}"
        assert message.startswith(f"{words.replace(f'`{name}`', option)}, not {shown}")


@pytest.mark.parametrize("validation", ["0", "0.0", "-0", "1", "nan", "-0.5"])
def test_a_share_of_nothing_is_told_as_a_share(mistake: Mistake, validation: str) -> None:
    message = mistake("finetune", "digits", f"--validation={validation}")
    assert message.startswith("--validation must lie in (0, 1), not ")
    assert "share of the training data" in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (FinetuneSettings(topology="banded"), "`topology` is fixed before.*`mode='paper'`"),
        (FinetuneSettings(q=8), "`q` rounds weights.*`mode='paper'`"),
        (
            FinetuneSettings(mode="paper", topology="banded", density=0.0),
            r"`density` must lie in \(0, 1\], not 0; it is",
        ),
        (FinetuneSettings(q=1), "`q` must lie in 2..32, not 1; 32 rounds nothing"),
        (FinetuneSettings(batch_norm="off"), "unknown `batch_norm` 'off'; choose from fixed, running"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_training_cannot_resolve(settings: FinetuneSettings, message: str) -> None:
    with pytest.raises(MomosError, match=message):
        settings.resolved()


@pytest.mark.parametrize("record", RECORDS)
def test_words_that_are_no_choice_are_refused_with_the_choices(record: type) -> None:
    for name, hint in get_type_hints(record).items():
        if not choices_of(hint):
            continue
        for word in choices_of(hint):
            check_settings(record(**{name: word}))
        with pytest.raises(MomosError, match=f"unknown `{name}` 'nothing'; choose from {', '.join(choices_of(hint))}"):
            check_settings(record(**{name: "nothing"}))


def test_a_record_within_a_record_is_checked() -> None:
    with pytest.raises(MomosError, match=r"`planes` must lie in 1\.\.16, not 17"):
        check_settings(StudySettings(measures=MeasureSettings(planes=17)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(k=1.5), "`k` must be a whole number, not 1.5"),  # type: ignore[arg-type]
        (Settings(s="4"), "`s` must be a whole number, not '4'"),  # type: ignore[arg-type]
        (Settings(rate_weight="much"), "`rate_weight` must be a number, not 'much'"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_number_is_told(settings: Settings, message: str) -> None:
    with pytest.raises(MomosError, match=message):
        check_settings(settings)


def test_every_method_that_is_offered_is_known() -> None:
    (method,) = (each for each in dataclasses.fields(Settings) if each.name == "method")
    assert set(about(method).names) == set(METHODS)
    for name in about(method).names:
        check_compression(Settings(method=name))
    with pytest.raises(MomosError, match=f"unknown method.*{', '.join(sorted(about(method).names)[:1])}"):
        check_compression(Settings(method="magic"))


# Options from records


FILLINGS = ("jam", "cream")


@dataclasses.dataclass(frozen=True)
class Cake:
    layers: int = setting(2, help="Layers, at most as many as `eggs`.", least=1, most=9)
    eggs: int | None = setting(None, help="Eggs.")
    iced: bool = setting(True, help="Whether it is iced.")
    vegan: bool = setting(False, help="Without eggs.")
    filling: str | None = setting(None, help="What is between the layers.", offered=f"{__name__}:FILLINGS")


def bake(*words: str) -> tuple[Given[Cake], int]:
    """Run a command that takes a cake and a temperature."""
    baked: list[tuple[Given[Cake], int]] = []

    @from_records
    def command(
        *,
        cake: Annotated[Given[Cake], Fields(but=("vegan",), help={"eggs": "Fresh eggs."})],
        heat: Annotated[int, Parameter(help="In degrees.")] = 180,
        vegan: Annotated[str, Parameter(help="The command's own, beside the record's field of that name.")] = "",
    ) -> None:
        baked.append((cake, heat))
        assert vegan in ("", "wholly")

    oven = App()
    oven.default(command)
    oven(words, result_action="return_value", exit_on_error=False, print_error=False)
    return baked[0]


def test_a_command_gets_what_was_given_and_the_records_defaults() -> None:
    cake, heat = bake("--eggs", "3", "--no-iced", "--heat", "200", "--vegan", "wholly")
    assert heat == 200
    assert cake.values == {"eggs": 3, "iced": False}
    assert "eggs" in cake
    assert "layers" not in cake
    assert cake.made() == Cake(layers=2, eggs=3, iced=False)
    assert cake.made(layers=4, eggs=1) == Cake(layers=4, eggs=3, iced=False)  # the user's word counts
    assert bake()[0].made() == Cake()


def test_a_record_out_of_bounds_is_not_made() -> None:
    with pytest.raises(MomosError, match=r"`layers` must lie in 1\.\.9, not 10"):
        bake("--layers", "10")[0].made()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--no-vegan", "--no-vegan"),
        ("--eggs=1.5", "'1.5' is not a whole number"),
        ("--filling=mud", "jam"),
    ],
)
def test_what_a_record_does_not_offer_is_refused(words: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        bake(*words.split())


def test_bounds_and_other_options_are_shown_in_the_help() -> None:
    @from_records
    def command(*, cake: Given[Cake]) -> None:
        pass

    oven = App()
    oven.default(command)
    helps = {each.name: each.parameter.help for each in oven.assemble_argument_collection()}
    assert helps["--layers"] == "Layers, at most as many as --eggs. Within 1..9."
    assert helps["--eggs"] == "Eggs."


@pytest.mark.parametrize("command", ["compress", *(name for name in commands() if name != "compress")])
def test_every_option_has_a_help_that_names_only_options(command: str) -> None:
    arguments = list(app[command].assemble_argument_collection())
    known = {name for each in arguments for name in (*each.names, *each.negatives)}
    for each in arguments:
        text = each.parameter.help
        assert text, each.name
        assert "`" not in text
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) <= known, each.name
