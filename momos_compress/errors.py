"""The errors a user can cause. Each message is one line that names the thing and the remedy."""


class MomosError(Exception):
    """Bad input or an impossible request."""


class FormatError(MomosError):
    """A file that is damaged, hostile, or not in the expected format."""


class SourceError(MomosError):
    """A checkpoint or model that cannot be found, reached or read."""
