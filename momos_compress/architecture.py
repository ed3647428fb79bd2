"""Networks by name: what rebuilds a model from its record, with random weights or with given ones."""

import contextlib
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from momos_compress.errors import MomosError, SourceError

PREPROCESSING = (
    "num_classes", "input_size", "test_input_size", "fixed_input_size", "mean", "std", "interpolation", "crop_pct",
    "test_crop_pct", "crop_mode", "pool_size", "first_conv", "classifier",
)  # fmt: skip
"""The parts of timm's pretrained configuration that are kept: what the weights mean, never where they lie."""

FORBIDDEN_ARGUMENTS = frozenset(
    {
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "checkpoint_path",
        "cache_dir",
        "features_only",
        "scriptable",
    }
)


@dataclass(frozen=True)
class Architecture:
    """What rebuilds a network.

    library: "timm" (``name`` is a registered architecture without tag) or "transformers" (``name`` is a model class and
    ``arguments`` its configuration). preprocessing: timm's data configuration and classifier names.
    """

    library: Literal["timm", "transformers"]
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record; ``from_json`` undoes it."""
        return {
            "library": self.library,
            "name": self.name,
            "arguments": dict(self.arguments),
            "preprocessing": dict(self.preprocessing),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Architecture":
        """Read a record that may come from an untrusted file: only known keys and harmless arguments are taken."""
        library, name = record.get("library"), record.get("name")
        arguments, preprocessing = record.get("arguments", {}), record.get("preprocessing", {})
        if (
            library not in ("timm", "transformers")
            or not isinstance(name, str)
            or not isinstance(arguments, dict)
            or not isinstance(preprocessing, dict)
        ):
            raise MomosError("the architecture record is malformed")
        if library == "timm":
            refused = sorted(FORBIDDEN_ARGUMENTS & arguments.keys())
            if refused:
                raise MomosError(f"the architecture record has arguments that a file may not set: {', '.join(refused)}")
        else:
            arguments = _harmless_config(arguments)
        kept = {key: preprocessing[key] for key in PREPROCESSING if key in preprocessing}
        return cls(library, name, arguments, kept)

    def build(self, *, seed: int) -> nn.Module:
        """The network with random weights from the library's own initialiser, in eval mode. Seeded."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self._instantiate().eval()

    def skeleton(self) -> nn.Module:
        """The network without storage (on the meta device) where its library allows that, else with random weights."""
        try:
            with torch.device("meta"):
                return self._instantiate()
        except (NotImplementedError, RuntimeError, ValueError):
            return self.build(seed=0)

    def with_weights(self, state: dict[str, torch.Tensor]) -> nn.Module:
        """The network holding these tensors, in eval mode; MomosError where they do not fit."""
        try:
            # Initial weights are drawn and replaced: that must not cost the caller's random state.
            with torch.random.fork_rng(devices=[]):
                return self._filled(state)
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            first = " ".join(str(error).split())[:300]
            raise MomosError(f"the weights do not fit {self.name}: {first}") from error

    def _filled(self, state: dict[str, torch.Tensor]) -> nn.Module:
        if self.library == "timm":
            overlay = {**self.preprocessing, "state_dict": state, "label_offset": 0, "custom_load": False}
            model = _timm_create(self.name, pretrained=True, pretrained_cfg_overlay=overlay, **self.arguments)
            # Left there, it would keep the tensors alive beside the model's own.
            vars(model)["pretrained_cfg"].pop("state_dict", None)
            return model.eval()
        cls, config = _transformers_class(self.name, self.arguments)
        with quiet_transformers():
            model, info = cls.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
        if info["missing_keys"] or info["mismatched_keys"]:
            names = [str(key) for key in (*info["missing_keys"], *info["mismatched_keys"])]
            raise MomosError(f"the weights do not fit {self.name}: {_some(names)} missing or of another shape")
        built: nn.Module = model
        return built.eval()

    def _instantiate(self) -> nn.Module:
        try:
            if self.library == "timm":
                overlay = dict(self.preprocessing) or None
                return _timm_create(self.name, pretrained=False, pretrained_cfg_overlay=overlay, **self.arguments)
            cls, config = _transformers_class(self.name, self.arguments)
            model: nn.Module = cls(config)
            return model
        except TypeError as error:
            raise MomosError(f"{self.name} does not take the arguments {dict(self.arguments)}: {error}") from error


def _timm_create(name: str, **arguments: Any) -> nn.Module:
    import timm

    check_timm_name(name)
    model: nn.Module = timm.create_model(name, **arguments)
    return model


def check_timm_name(name: str) -> None:
    """Raise SourceError with close names unless timm knows the architecture ``name`` (no tag, no source prefix)."""
    import timm

    if not timm.is_model(name) or "." in name:
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; close names: {', '.join(close)}" if close else ""
        raise SourceError(f"timm has no architecture {name!r}{hint}; others are registered by importing their package")


def _transformers_class(name: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
    transformers = load_transformers()
    cls = getattr(transformers, name, None)
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise SourceError(f"transformers {transformers.__version__} has no model class {name!r}")
    settings = _harmless_config(config)
    model_type = settings.pop("model_type", None)
    try:
        return cls, transformers.AutoConfig.for_model(model_type, **settings)
    except ValueError as error:
        raise SourceError(f"transformers {transformers.__version__} does not know model type {model_type!r}") from error


def _harmless_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A transformers configuration without what could fetch or run code, or name a place."""
    dropped = {"auto_map", "quantization_config", "attn_implementation", "transformers_version", "name_or_path"}
    return {key: value for key, value in config.items() if not key.startswith("_") and key not in dropped}


def load_transformers() -> Any:
    """The transformers module; MomosError names the extra where it is missing."""
    try:
        import transformers
    except ImportError as error:
        raise MomosError("Hugging Face models need transformers; pip install 'momos-compress[hf]'") from error
    return transformers


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and notes off standard error."""
    logging = load_transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def timm_architecture(model: nn.Module, arguments: Mapping[str, Any] | None = None) -> Architecture:
    """The record of a model that timm built."""
    config = dict(getattr(model, "pretrained_cfg", None) or {})
    name = config.get("architecture")
    if not isinstance(name, str):
        raise MomosError(f"{type(model).__name__} is not a model built by timm")
    kept = {key: config[key] for key in PREPROCESSING if config.get(key) is not None}
    return Architecture("timm", name, dict(arguments or {}), kept)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
