"""What loading takes of the host beside what stays: pieces, never a file or a second copy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

pytestmark = pytest.mark.numerics

MIB = 2**20
ELEMENTS = 150 * MIB
"""Of one plain bfloat16 tensor of 300 MiB, and of fp8 ones of half the bytes."""

LOAD = """
import json, resource, sys
from pathlib import Path
import torch
from ltx_core.io.safetensors import read_header
from ltx_core.checkpoint.stored import grouped
from ltx_core.checkpoint.read import read_weights
from ltx_core.checkpoint.stored import StoredTensor

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

path, dtype = Path(sys.argv[1]), getattr(torch, sys.argv[2])
weights = grouped({n: StoredTensor(path, n, e) for n, e in read_header(path).tensors.items()})
torch.ones(1).to(torch.float8_e4m3fn).float()
before = peak()
found = read_weights(weights, device="cpu", dtype=dtype)
resident = sum(tensor.numel() * tensor.element_size() for tensor in found.values())
print(json.dumps([peak() - before, resident]))
"""


@pytest.fixture(params=["plain", *(pytest.param(kind, marks=pytest.mark.extra) for kind in ("fp8", "nvfp4"))])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    rows = 2048
    tensors = {}
    if request.param == "plain":
        tensors = {"one.weight": torch.ones(ELEMENTS, dtype=torch.bfloat16)}
    elif request.param == "fp8":
        values = torch.ones(rows, ELEMENTS // rows).to(torch.float8_e4m3fn)
        tensors = {"one.weight": values, "one.weight_scale": torch.tensor(0.5)}
    else:  # of the size of the largest linear that Lightricks quantises, several times
        for index in range(8):
            tensors[f"{index}.weight"] = torch.zeros(rows, 4096, dtype=torch.uint8)
            tensors[f"{index}.weight_scale"] = torch.ones(rows, 512).to(torch.float8_e4m3fn)
            tensors[f"{index}.weight_scale_2"] = torch.tensor(0.5)
    path = tmp_path / "large.safetensors"
    save_file(tensors, path)
    return path


def test_host_memory_stays_near_the_result(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(file), "float16"], capture_output=True, text=True, check=True
    )
    taken, resident = json.loads(done.stdout)
    assert resident >= 256 * MIB
    assert taken < resident + 200 * MIB
