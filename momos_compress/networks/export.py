"""Dense weights for software that knows nothing of MoMos."""

from pathlib import Path

from momos_compress.container.reader import MomosFile
from momos_compress.errors import MomosError
from momos_compress.networks.load import architecture_of
from momos_compress.tensors.safetensors_writer import StoredTensor, tensor_data, write_safetensors


def export(source: str | Path, path: Path) -> int:
    """Decode a compressed file into a plain safetensors file, one tensor at a time.

    Tied tensors are written once, under their stored name, as safetensors' own savers do.

    Args:
        source: A compressed file.
        path: The file to write.

    Returns:
        The size of the file written, in bytes.

    Raises:
        FormatError: The source is damaged.
        MomosError: The source is the file to write.

    Examples:
        >>> from pathlib import Path
        >>> import momos_compress as mc
        >>> written = mc.export("digits.momos.safetensors", Path("dense.safetensors"))
        >>> written == Path("dense.safetensors").stat().st_size
        True
    """
    file = MomosFile(source)
    if path.exists() and path.samefile(file.path):
        raise MomosError(f"the output {str(path)!r} is the input; choose another `output`")
    names = [name for name in file if name not in file.recipe.aliases]

    def stored(name: str) -> StoredTensor:
        dtype, shape = file.recipe.own(name, file.entries[name])
        return StoredTensor(name, dtype, shape, lambda: [tensor_data(file.get(name))])

    architecture = architecture_of(file)
    metadata = {"format": "pt"}  # transformers asks for this entry
    if architecture is not None and architecture.library == "timm":
        metadata["architecture"] = architecture.name
        for key in ("num_classes", "input_size", "mean", "std", "crop_pct"):
            value = architecture.preprocessing.get(key)
            if value is not None:
                metadata[key] = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return write_safetensors(path, map(stored, names), metadata)
