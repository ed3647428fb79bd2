"""Networks by name: a record that rebuilds a network, with random weights or with given ones.

A record may come from an untrusted file, so ``untrusted`` checks what it says. Building a network downloads nothing and
takes no more memory than its weights justify, and its weights are compared with the given ones afterwards.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from momos_compress.errors import MomosError, SourceError, one_line
from momos_compress.sources.untrusted import (
    PREPROCESSING,
    check_arguments,
    check_timm_name,
    harmless_config,
    no_network,
    sound_preprocessing,
)

SPARE_VALUES = 2**22
"""Values that a network may hold beyond twice those of its weights: tables that it computes itself."""


@dataclass(frozen=True)
class Architecture:
    """The record of a network.

    Attributes:
        library: "timm" or "transformers".
        name: timm's registered architecture, without a tag; or transformers' model class.
        arguments: Arguments of timm's create_model; or the transformers configuration.
        preprocessing: timm's data configuration and the names of its classifier and first layer.
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
    def from_json(cls, record: Any) -> "Architecture":
        """Read a record, which may come from an untrusted file.

        Only known keys and harmless arguments are kept.

        Raises:
            MomosError: The record is malformed, or holds an argument that a file may not set.
        """
        if not isinstance(record, dict):
            raise MomosError("the architecture record is malformed: not an object")
        library, name = record.get("library"), record.get("name")
        arguments, preprocessing = record.get("arguments", {}), record.get("preprocessing", {})
        if (
            library not in ("timm", "transformers")
            or not isinstance(name, str)
            or not isinstance(arguments, dict)
            or not isinstance(preprocessing, dict)
        ):
            raise MomosError("the architecture record is malformed: library, name, arguments or preprocessing")
        if library == "timm":
            check_arguments(arguments)
        else:
            arguments = harmless_config(arguments)
        return cls(library, name, arguments, sound_preprocessing(preprocessing))

    def build(self, *, seed: int) -> nn.Module:
        """The network in eval mode, with seeded random weights of the library's own initialiser."""
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
        """The network in eval mode, holding exactly these tensors; nothing is downloaded.

        Args:
            state: Tensors by the network's own names; tied ones may be left out.

        Raises:
            MomosError: They do not fit, or the network is far larger than they are.
        """
        try:
            # Initial weights are drawn and replaced: that must not cost the caller's random state.
            with torch.random.fork_rng(devices=[]), no_network():
                self._check_size(state)
                model = self._filled(state)
            _check_same(model, state)
        except MomosError:
            raise
        except Exception as error:  # libraries raise what they like on a record that makes no sense
            raise MomosError(f"the weights do not fit {one_line(self.name, 80)}: {one_line(error)}") from error
        return model.eval()

    def _check_size(self, state: Mapping[str, torch.Tensor]) -> None:
        try:
            with torch.device("meta"):
                model = self._instantiate()
        except NotImplementedError:  # some networks compute with real numbers while they are built
            return
        tensors = (*model.parameters(), *model.buffers())
        needed, given = sum(t.numel() for t in tensors), sum(t.numel() for t in state.values())
        if needed > 2 * given + SPARE_VALUES:
            raise MomosError(f"the weights do not fit {self.name}: it has {needed:,} values and they are {given:,}")

    def _filled(self, state: dict[str, torch.Tensor]) -> nn.Module:
        if self.library == "timm":
            overlay = {**self.preprocessing, "state_dict": state, "label_offset": 0, "custom_load": False}
            if "num_classes" in self.arguments:
                overlay["num_classes"] = self.arguments["num_classes"]  # else timm would drop the classifier
            model = _timm_create(self.name, pretrained=True, pretrained_cfg_overlay=overlay, **self.arguments)
            # Left there, it would keep the tensors alive beside the model's own.
            vars(model)["pretrained_cfg"].pop("state_dict", None)
            return model
        cls, config = _transformers_class(self.name, self.arguments)
        with quiet_transformers():
            model, info = cls.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
        if info["missing_keys"] or info["mismatched_keys"]:
            names = [str(key) for key in (*info["missing_keys"], *info["mismatched_keys"])]
            raise MomosError(f"the weights do not fit {self.name}: {_some(names)} missing or of another shape")
        filled: nn.Module = model
        return filled

    def _instantiate(self) -> nn.Module:
        try:
            if self.library == "timm":
                overlay = dict(self.preprocessing) or None
                return _timm_create(self.name, pretrained=False, pretrained_cfg_overlay=overlay, **self.arguments)
            cls, config = _transformers_class(self.name, self.arguments)
            model: nn.Module = cls(config)
            return model
        except TypeError as error:
            arguments = one_line(dict(self.arguments), 120)
            raise MomosError(f"{self.name} does not fit the arguments {arguments}: {one_line(error)}") from error


def _check_same(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Raise MomosError where a value is not the one given: a layer was adapted, resampled or left random."""
    for name, own in model.state_dict().items():
        given = state.get(name)
        if given is None:
            continue
        same = own.shape == given.shape and torch.equal(
            torch.nan_to_num(own.float()), torch.nan_to_num(given.to(own.device, own.dtype).float())
        )
        if not same:
            raise MomosError(
                f"the weights do not fit {type(model).__name__}: {one_line(name, 80)} {list(given.shape)} was changed "
                f"on its way into {list(own.shape)}"
            )


def _timm_create(name: str, **arguments: Any) -> nn.Module:
    import timm

    check_timm_name(name)
    model: nn.Module = timm.create_model(name, **arguments)
    return model


def _transformers_class(name: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
    transformers = load_transformers()
    cls = getattr(transformers, name, None)
    base = transformers.PreTrainedModel
    # The base class itself is no network, and asking it to be one changes what its subclasses remember.
    if not (isinstance(cls, type) and issubclass(cls, base)) or getattr(cls, "config_class", None) is None:
        raise SourceError(f"transformers {transformers.__version__} has no model class {one_line(name, 80)!r}")
    settings = harmless_config(config)
    model_type = settings.pop("model_type", None)
    try:
        return cls, transformers.AutoConfig.for_model(model_type, **settings)
    except ValueError as error:
        raise SourceError(
            f"transformers {transformers.__version__} does not know model type {one_line(model_type, 80)!r}"
        ) from error
    except Exception as error:  # configurations raise what they like
        raise SourceError(f"{name}: the configuration is refused: {one_line(error)}") from error


def load_transformers() -> Any:
    """The transformers module; MomosError names the extra where it is missing."""
    try:
        import transformers
    except ImportError as error:
        raise MomosError("Hugging Face models need transformers; pip install 'momos-compress[hf]'") from error
    return transformers


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' warnings and progress bars; what matters of them is said by errors."""
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
    """The record of a model that timm built with these arguments."""
    config = dict(getattr(model, "pretrained_cfg", None) or {})
    name = config.get("architecture")
    if not isinstance(name, str):
        raise MomosError(f"{type(model).__name__} is not a model built by timm")
    check_arguments(arguments or {})
    kept = {key: config[key] for key in PREPROCESSING if config.get(key) is not None}
    return Architecture("timm", name, dict(arguments or {}), kept)


def _some(names: list[str]) -> str:
    shown = one_line(", ".join(names[:3]), 200)
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
