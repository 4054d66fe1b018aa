"""Builds the archive that `comfy node pack` uploads, and prints its size: `python -m tools.package [--out FILE]`.

By the same rules: the files that git tracks, without those that .comfyignore names.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tools.say import complain, say

REPOSITORY = Path(__file__).resolve().parents[1]
MOST_MB = 45


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.package", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="where to write the archive (default: nowhere)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        archive = build(options.out or Path(folder) / "node.zip")
        size = archive.stat().st_size / 1e6
        unpacked = sum((REPOSITORY / name).stat().st_size for name in packed_files()) / 1e6
    say(f"{size:.1f} MB packed, {unpacked:.1f} MB unpacked, {len(packed_files())} files")
    if size > MOST_MB:
        complain(f"the package must be smaller than {MOST_MB} MB.")
        return 1
    return 0


def build(archive: Path) -> Path:
    """Write the archive and return its path."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        for name in packed_files():
            written.write(REPOSITORY / name, name)
    return archive


def packed_files() -> list[str]:
    """What belongs into the archive, relative to the repository."""
    ignored = set(_listed("--ignored", "--cached", "--exclude-from=.comfyignore"))
    return [name for name in _listed("--cached") if name not in ignored and (REPOSITORY / name).is_file()]


def _listed(*options: str) -> list[str]:
    command = ["git", "-C", str(REPOSITORY), "ls-files", "-z", *options]
    return [name for name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0") if name]


if __name__ == "__main__":
    sys.exit(main())
