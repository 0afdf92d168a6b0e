"""Build the guests, or check that the committed modules are what their sources give, byte for byte.

    python -m enclaves.guests.build            rebuild and compare; exit 1 if a byte differs
    python -m enclaves.guests.build --write    rebuild and replace

Needs the pinned compiler of requirements-modules.lock; nothing else of the project does.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from enclaves.module import InvalidModule, admit

GUESTS: Final = ("agora", "assets")
HERE: Final = Path(__file__).resolve().parent
_FLAGS: Final = (
    "-target wasm32-freestanding -mcpu=mvp+sign_ext+bulk_memory "
    "-std=c11 -O2 -ffreestanding -nostdlib -fno-builtin "
    "-Wall -Wextra -Werror -Wno-unused-function "
    "-Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=65536"
)


def build(name: str, directory: Path) -> bytes:
    """The module compiled from `name`.c. Raises CalledProcessError; the compiler has said why."""
    target = directory / f"{name}.wasm"
    command = [sys.executable, "-m", "ziglang", "cc", *_FLAGS.split(), "-o", str(target), f"{name}.c"]
    subprocess.run(command, check=True, cwd=HERE)  # relative names only: no path of this machine gets in
    return target.read_bytes()


def main() -> int:
    """Exit status: 0 all as committed (or written), 1 a difference, a refusal or a failed build."""
    parser = argparse.ArgumentParser(description="Build the guests, compare with the committed.")
    parser.add_argument("--write", action="store_true", help="replace the committed modules")
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        for name in GUESTS:
            committed = HERE / f"{name}.wasm"
            try:
                module = build(name, Path(scratch))
                admit(module)
            except subprocess.CalledProcessError:
                print(f"{name}: does not build", file=sys.stderr)
                return 1
            except InvalidModule as reason:
                print(f"{name}: {reason}", file=sys.stderr)
                return 1
            if arguments.write:
                committed.write_bytes(module)
                print(f"{name}: wrote {len(module)} bytes")
            elif committed.read_bytes() != module:
                print(f"{name}: the committed module is not what {name}.c builds to", file=sys.stderr)
                failed = True
            else:
                print(f"{name}: {len(module)} bytes, as committed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
