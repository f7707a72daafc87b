"""Where the files that ship with zocelery are found."""

from pathlib import Path


def resource_dir(name: str) -> Path:
    """Return the folder `name` ("recipes" or "config") that ships with zocelery.

    It lies inside the package when zocelery is installed from a wheel and beside
    the package in a checkout.
    """
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name
