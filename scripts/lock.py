"""Print `constraints.txt`: the versions installed in this environment, without builds that differ by machine."""

import re
import sys
from importlib.metadata import distributions

MACHINE_ONLY = re.compile(r"^(nvidia-|cuda-|triton$|ltx2-lora$|pip$|setuptools$|wheel$)")
HEADER = """\
# What `make install` installs. Made by `make lock` from a tested environment; pip takes it as constraints.
# torch: the CPU build and the CUDA build have one version number; scripts/install.sh picks between them.
"""


def main() -> None:
    """Write to standard output."""
    pins = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d.version.partition("+")[0] for d in distributions()}
    lines = [f"{name}=={version}" for name, version in sorted(pins.items()) if not MACHINE_ONLY.match(name)]
    sys.stdout.write(HEADER + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
