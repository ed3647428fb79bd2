"""The errors a user can cause. Each message is one line that names the thing and the remedy.

A message writes a setting in backticks, in Python's own form: "raise `s`", "use `calibrate='none'`". The command line
shows such a setting as its option.
"""


def one_line(text: object, limit: int = 300) -> str:
    """Text of unknown origin as one printable line of bounded length, for a message."""
    line = "".join(c if c.isprintable() else " " for c in str(text)[: 4 * limit])
    line = " ".join(line.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


class MomosError(Exception):
    """Bad input or an impossible request.

    Attributes:
        setting: Name of the setting that cannot be as it is, where it is a single one.

    Examples:
        >>> import momos_compress as mc
        >>> try:
        ...     mc.open_checkpoint("resnet5000")
        ... except mc.MomosError as error:
        ...     print(str(error)[:60])
        'resnet5000' is no timm model, file or directory; close mode
    """

    def __init__(self, *message: object, setting: str | None = None) -> None:
        super().__init__(*message)
        self.setting = setting


class FormatError(MomosError):
    """A file that is damaged, hostile, or not in the expected format.

    Examples:
        >>> import momos_compress as mc
        >>> mc.load_file("missing.momos.safetensors")
        Traceback (most recent call last):
            ...
        momos_compress.errors.FormatError: missing.momos.safetensors: no such file
    """


class SourceError(MomosError):
    """A checkpoint or model that cannot be found, reached or read.

    Examples:
        >>> import momos_compress as mc
        >>> mc.open_checkpoint("missing.safetensors")
        Traceback (most recent call last):
            ...
        momos_compress.errors.SourceError: no file or directory 'missing.safetensors'
    """
