"""Which version of the program this is."""

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """The installed version, or `unknown` in a bare source tree."""
    try:
        return version("phalanx")
    except PackageNotFoundError:
        return "unknown"
