"""What a record from an untrusted file may say about a network."""

import contextlib
import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from momos_compress.errors import MomosError, SourceError, one_line

FORBIDDEN_PREFIXES = ("pretrained", "checkpoint", "cache_dir", "state_dict", "model_name", "features_only", "script")
"""Arguments of timm's create_model that choose weights, files or a wrapper instead of the network's structure."""

DROPPED_SETTINGS = frozenset(
    {
        "auto_map",
        "quantization_config",
        "attn_implementation",
        "transformers_version",
        "name_or_path",
        "custom_pipelines",
    }
)
"""Entries of a transformers configuration that could fetch or run code, or name a place."""


def check_timm_name(name: str) -> None:
    """Raise SourceError with close names unless timm knows the architecture ``name`` (no tag, no source prefix)."""
    import timm

    if "." in name or ":" in name or "/" in name or not timm.is_model(name):
        close = difflib.get_close_matches(name[:80], timm.list_models(), n=3)
        hint = f"; close names: {', '.join(close)}" if close else ""
        raise SourceError(
            f"timm has no architecture {one_line(name, 80)!r}{hint}; others are registered by importing their package"
        )


def check_arguments(arguments: Any) -> None:
    """Raise MomosError unless these are timm model arguments that only say how the network is built."""
    if not isinstance(arguments, Mapping):
        raise MomosError("the architecture's arguments are malformed: not an object")
    refused = sorted(key for key in arguments if key.startswith(FORBIDDEN_PREFIXES))
    if refused:
        raise MomosError(
            f"the architecture's arguments include some that a file may not set: {one_line(', '.join(refused))}"
        )


def harmless_config(config: Any) -> Any:
    """A transformers configuration without what could fetch or run code, or name a place; nested ones too."""
    if isinstance(config, Mapping):
        if config.get("model_type") == "timm_wrapper":
            check_timm_name(str(config.get("architecture")))
            check_arguments(config.get("model_args") or {})
        kept = {key: value for key, value in config.items() if not key.startswith("_") and key not in DROPPED_SETTINGS}
        return {key: harmless_config(value) for key, value in kept.items()}
    if isinstance(config, list):
        return [harmless_config(value) for value in config]
    return config


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**24


def _several(check: Callable[[Any], bool], *lengths: int) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, (list, tuple)) and (not lengths or len(value) in lengths) and all(map(check, value))
    )


def _word(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 200


def _either(*checks: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: any(check(value) for check in checks)


_NAMES = _either(_word, _several(_word))

PREPROCESSING: Mapping[str, Callable[[Any], bool]] = {
    "num_classes": _either(_size, lambda value: value == 0 and type(value) is int),
    "input_size": _several(_size, 3),
    "test_input_size": _several(_size, 3),
    "fixed_input_size": lambda value: isinstance(value, bool),
    "mean": _several(_number),
    "std": _several(_positive),
    "interpolation": _word,
    "crop_pct": _positive,
    "test_crop_pct": _positive,
    "crop_mode": _word,
    "pool_size": _several(_size, 2),
    "first_conv": _NAMES,
    "classifier": _NAMES,
}
"""The parts of timm's pretrained configuration that are kept (what the weights mean, never where they lie), each with
what its value must be."""


def sound_preprocessing(record: Mapping[str, Any]) -> dict[str, Any]:
    """The known entries of a preprocessing record; MomosError for a value that makes no sense."""
    kept = {key: value for key, value in record.items() if key in PREPROCESSING and value is not None}
    for key, value in kept.items():
        if not PREPROCESSING[key](value):
            raise MomosError(f"the architecture record is malformed: {key} is {one_line(value, 80)}")
    return kept


@contextlib.contextmanager
def no_network() -> Iterator[None]:
    """Keep the hub client from asking anything while a network is built from a record."""
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
