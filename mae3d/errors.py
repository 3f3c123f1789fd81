"""The one exception family of mae3d.

Every message says what is wrong, where (file, field, index, shape), what was expected, and what to do.
"""


class Mae3dError(Exception):
    """Base of every error that mae3d raises on purpose."""


class OperatorInputError(Mae3dError, ValueError):
    """An operator was called with a tensor of the wrong dtype, shape, device or value."""


class ConfigError(Mae3dError, ValueError):
    """A configuration names an unknown key or an impossible combination of values."""


class DataError(Mae3dError, ValueError):
    """A data file or data set on disk is missing, truncated or malformed."""


class CheckpointError(Mae3dError, ValueError):
    """A checkpoint lacks tensors, has unexpected ones, or does not fit the model."""


class NonFiniteLossError(Mae3dError, FloatingPointError):
    """A loss became NaN or infinite; the message names the loss and the samples of the batch."""


class MissingExtraError(Mae3dError, ImportError):
    """An optional dependency is not installed, or is but cannot be used for ``reason``."""

    def __init__(self, package: str, extra: str, purpose: str, reason: str = "") -> None:
        detail = f" ({reason})" if reason else ""
        super().__init__(f'{purpose} needs the package "{package}"{detail}: pip install "mae3d[{extra}]"')


def plain_message(error: Mae3dError) -> str:
    """Name and message of an error, without the traceback that a data worker's error carries in its message."""
    name = type(error).__name__
    message = str(error)
    if message.startswith("Caught "):  # torch's wrapper: "Caught DataError in DataLoader worker process 0. ..."
        message = message.rpartition(f"{name}: ")[2].strip()
    return f"{name}: {message}"
