#!/bin/sh
# Make .venv and install what constraints.txt pins. `make install` calls this.
#   PYTHON       interpreter to use (default: the first of python3.12, python3.13, python3.11, python3 that fits)
#   TORCH_INDEX  package index that holds PyTorch's CPU builds, if your default one does not
set -eu
cd "$(dirname "$0")/.."

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

if [ -z "${PYTHON:-}" ]; then
    for candidate in python3 python3.12 python3.13 python3.11; do
        if fits "$candidate"; then PYTHON=$candidate; break; fi
    done
fi
if [ -z "${PYTHON:-}" ] || ! fits "$PYTHON"; then
    echo "no Python 3.11 to 3.13 found (PYTHON=${PYTHON:-none}); install one, or run: make install PYTHON=/path/to/python3.12" >&2
    exit 1
fi

[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt "$@"; }

torch=$(sed -n 's/^torch==//p' constraints.txt)
if nvidia-smi --list-gpus >/dev/null 2>&1; then
    echo "NVIDIA GPU found: installing torch $torch with CUDA"
    pip "torch==$torch"
    extras="dev,gpu"
else
    echo "no NVIDIA GPU: installing the CPU build of torch $torch"
    if ! pip ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "torch==$torch+cpu"; then
        echo "torch $torch+cpu is not in your package index. Give the one that PyTorch's site names for CPU builds:" >&2
        echo "    make install TORCH_INDEX=..." >&2
        echo "or take the larger CUDA build, which runs on a CPU too:  .venv/bin/pip install torch==$torch && make install" >&2
        .venv/bin/python -c "import torch" 2>/dev/null || exit 1
        echo "going on with the torch that is installed" >&2
    fi
    extras="dev"
fi
pip --editable ".[$extras]"
touch .venv/.installed
