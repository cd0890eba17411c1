"""What `aaa init` writes: the commented configuration and the secrets that it names."""

import os
import secrets
from importlib import resources
from pathlib import Path


def template(name: str = "aaa.toml") -> str:
    """A file of conf/ as it is shipped: aaa.toml, sample.toml, sample.ndjson or aaa.service."""
    return resources.files("aaa.config").joinpath("data", name).read_text(encoding="utf-8")


def initialise(directory: str | os.PathLike[str]) -> list[Path]:
    """Write aaa.toml, store.key and admin.token, with fresh random secrets, readable by the owner only, and policy/.

    Returns the files written. Raises FileExistsError, and writes nothing, where one of them is there already; OSError
    where the directory cannot be written.
    """
    target = Path(directory)
    files = {
        target / "aaa.toml": template().replace("@NAS_SECRET@", secrets.token_urlsafe(24)),
        target / "store.key": secrets.token_hex(32) + "\n",
        target / "admin.token": secrets.token_urlsafe(32) + "\n",
    }
    shipped = resources.files("aaa.config").joinpath("data", "policy").iterdir()
    for source in sorted(shipped, key=lambda source: source.name):
        files[target / "policy" / source.name] = source.read_text(encoding="utf-8")
    for file in files:
        if file.exists():
            raise FileExistsError(f"{file} exists; choose another directory, or move it away")
    (target / "policy").mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        write_private(file, text)
    return list(files)


def write_private(file: Path, text: str) -> None:
    """Make a file that only its owner can read. Raises FileExistsError where it is there already."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
