"""The lanes on GPUs: `gpu` on one, `gpu-multi` on several, with torchrun; what a machine cannot do is skipped.

The CPU lane decides on parity, in fp32. Here the same toy goes through the real kernels in bfloat16: smoke, round
trip, logits, generation, split as far as GPUs allow, and the generated tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from scaffold_tools.errors import EnvironmentLacks
from scaffold_tools.paths import harness_dir
from scaffold_tools.verify.evidence import Check, Evidence
from scaffold_tools.verify.lane import PASSED_ON
from scaffold_tools.verify.lane_env import find_lane
from scaffold_tools.verify.run import Integration

PYTHON = "SCAFFOLD_GPU_PYTHON"
"""Names the interpreter of the GPU lane; else that of the CPU lane, whose torch has CUDA."""
ON_GPU = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "NCCL_DEBUG",
    "NCCL_SOCKET_IFNAME",
    "NVTE_FLASH_ATTN",
    "NVTE_FUSED_ATTN",
)
DETECT_SECONDS = 180.0
RUN_SECONDS = 900.0
PATIENCE = 120.0
"""Seconds that a process waits for the others."""
PASSED = re.compile(r"(\d+) passed")
LAYERS_MULTIPLE = 2
"""Two stages have as many layers each."""
Lane = Literal["gpu", "gpu-multi"]


@dataclass(frozen=True)
class Split:
    """How the toy is split over processes."""

    tp: int = 1
    pp: int = 1
    ep: int = 1
    sp: bool = False

    @property
    def processes(self) -> int:
        """How many it takes; expert ranks are taken from tensor and data ranks."""
        return self.pp * max(self.tp, self.ep)

    @property
    def name(self) -> str:
        """`tp2 sp`; `one process` where nothing is split."""
        sizes = [f"{name}{size}" for name, size in (("tp", self.tp), ("pp", self.pp), ("ep", self.ep)) if size > 1]
        return " ".join([*sizes, *(["sp"] if self.sp else [])]) or "one process"


SPLITS: dict[Lane, tuple[Split, ...]] = {
    "gpu": (Split(),),
    "gpu-multi": (Split(tp=2, sp=True), Split(pp=2), Split(ep=2), Split(tp=2, pp=2, sp=True)),
}
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""Keys one of which a model with experts has."""


@dataclass(frozen=True)
class Device:
    """What the lane runs on."""

    kind: Literal["cuda", "cpu"]
    """cpu: the same processes over gloo; for tests of this lane, and evidence of nothing else."""
    count: int
    python: Path
    found: dict[str, Any] = field(default_factory=dict)
    """What `harness/gpu/detect.py` printed."""


def gpu_python() -> Path:
    """The interpreter of the GPU lane.

    Raises:
        EnvironmentLacks: there is none.
    """
    named = os.environ.get(PYTHON)
    if named:
        if not os.access(named, os.X_OK):
            raise EnvironmentLacks(f"{PYTHON}={named} cannot be run", hint=f"unset {PYTHON}, or name a Python 3.12")
        return Path(named).absolute()
    lane = find_lane()
    if lane is None:
        raise EnvironmentLacks("no Python with torch and Megatron was found", hint=f"set {PYTHON} to one")
    return lane.python


def find_gpus() -> Device:
    """The GPUs of this machine, as the lane's Python sees them.

    Raises:
        EnvironmentLacks: there is no GPU, or no Python that could see one.
    """
    python = gpu_python()
    answer = subprocess.run(
        [str(python), "-m", "gpu.detect"],
        capture_output=True,
        text=True,
        timeout=DETECT_SECONDS,
        check=False,
        env=_environment(standins=False),
    )
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["no output"])[-1]
        raise EnvironmentLacks(f"{python} cannot look for GPUs: {last}", hint=f"set {PYTHON} to a Python with torch")
    found = json.loads(answer.stdout.strip().splitlines()[-1])
    if not found["gpus"]:
        hint = "run it where there is one, or write a Slurm script with --slurm"
        raise EnvironmentLacks("there is no GPU on this machine: torch sees none", hint=hint)
    return Device("cuda", len(found["gpus"]), python, found)


def verify_gpu(
    lane: Lane,
    integration: Integration,
    device: Device,
    *,
    config: dict[str, Any],
    architecture: str,
    tests: Sequence[Path] = (),
    model_folder: Path | None = None,
    trust_remote_code: bool = False,
    command: str = "",
    on_progress: Callable[[str], None] | None = None,
) -> Evidence:
    """Run the toy through every split that the GPUs are enough for, then the generated tests.

    Args:
        lane: `gpu` or `gpu-multi`.
        integration: what is verified.
        device: from `find_gpus`.
        config: the model's raw config.json.
        architecture: the Hugging Face class.
        tests: test files of the integration.
        model_folder: the model's own folder, for modeling code that is trusted.
        trust_remote_code: whether that code may run.
        command: what repeats this; goes into the evidence.
        on_progress: told in one line what runs.
    """
    say, started = on_progress or (lambda text: None), time.monotonic()
    checks: list[Check] = []
    picked, replaced = "", None
    with tempfile.TemporaryDirectory(prefix="scaffold-gpu-") as name:
        for split in SPLITS[lane]:
            why = _hindrance(split, device, config)
            if why:
                checks.append(Check("gpu.build", "skipped", detail=why, toy=split.name))
                continue
            say(f"{split.name}: {split.processes} processes")
            request = {
                "integration": integration.as_request(),
                "config": config,
                "architecture": architecture,
                "workdir": name,
                "device": device.kind,
                "layout": asdict(split),
                "name": split.name,
                "patience": PATIENCE,
                "layers_multiple": LAYERS_MULTIPLE,
                "model_folder": str(model_folder.resolve()) if model_folder else None,
                "trust_remote_code": trust_remote_code,
            }
            answer = _torchrun(device, split, request, Path(name))
            checks += [Check(**check) for check in answer["checks"]]
            picked, replaced = answer.get("bridge") or picked, answer.get("replaced") or replaced
    if tests:
        say("generated tests")
        checks.append(_tests(device, integration, tests))
    engine = "real" if device.found.get("transformer_engine") and device.kind == "cuda" else "stand-in"
    environment = {**device.found, "transformer_engine": engine, "device": device.kind, "processes": device.count}
    seconds = round(time.monotonic() - started, 3)
    return Evidence(lane, picked, replaced, tuple(checks), environment, seconds, command)


def _hindrance(split: Split, device: Device, config: dict[str, Any]) -> str:
    if split.ep > 1 and not any(_has_experts(part) for part in (config, *config.values())):
        return "the model has no experts"
    if split.processes > device.count:
        return f"needs {split.processes} GPUs, there are {device.count}"
    return ""


def _has_experts(part: Any) -> bool:
    return isinstance(part, dict) and any(isinstance(part.get(key), int) and part[key] > 1 for key in EXPERTS)


def _torchrun(device: Device, split: Split, request: dict[str, Any], folder: Path) -> dict[str, Any]:
    file = folder / f"{split.name.replace(' ', '-')}.json"
    file.write_text(json.dumps(request), encoding="utf-8")
    log = file.with_suffix(".log")
    worker = harness_dir() / "gpu" / "worker.py"
    command = [str(device.python), "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(split.processes), str(worker), str(file)]
    why = _run(command, device, log, RUN_SECONDS)
    answer = file.with_suffix(".answer")
    if answer.is_file():
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found
    broken = asdict(Check("gpu.build", "error", detail=f"{why}: {_reason(log)}", toy=split.name))
    return {"checks": [broken]}


def _run(command: list[str], device: Device, log: Path, seconds: float, cwd: Path | None = None) -> str:
    """Why it came to no good end; "" where it did. Nothing of it is left."""
    environ = _environment(standins=device.kind == "cpu" or not device.found.get("transformer_engine"))
    if device.kind == "cpu":
        environ["CUDA_VISIBLE_DEVICES"] = ""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environ, cwd=cwd, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"no end within {seconds:g} seconds"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return "" if code == 0 else f"exit code {code}"


def _reason(log: Path) -> str:
    """The last line that names an error."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    named = [line for line in lines if re.search(r"\w(Error|Exception)\b", line) and "ChildFailedError" not in line]
    return " ".join((named or lines or ["no output"])[-1].split())[:400]


def _environment(*, standins: bool) -> dict[str, str]:
    """Variables of the processes; the stand-in of Transformer Engine only where there is no real one."""
    harness = harness_dir()
    path = [str(harness), str(harness / "jobs"), *([str(harness / "standins")] if standins else [])]
    environ = {name: os.environ[name] for name in (*PASSED_ON, *ON_GPU) if name in os.environ}
    return environ | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",  # what Megatron wants for sequence parallel
    }


def _tests(device: Device, integration: Integration, tests: Sequence[Path]) -> Check:
    """The generated unit and functional tests, in the lane's Python; passed only where one ran and none failed."""
    with tempfile.TemporaryDirectory(prefix="scaffold-gpu-tests-") as name:
        log = Path(name) / "log"
        command = [str(device.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, tests)]
        why = _run(command, device, log, RUN_SECONDS, integration.path)
        text = log.read_text(encoding="utf-8", errors="replace")
    passed = int(found[1]) if (found := PASSED.search(text)) else 0
    last = (text.strip().splitlines() or ["no output"])[-1]
    if why == "exit code 5":
        return Check("gpu.tests", "skipped", detail="no test was collected", toy="generated")
    status: Literal["passed", "failed"] = "passed" if not why and passed else "failed"
    return Check("gpu.tests", status, passed, "all", "" if status == "passed" else f"{why} {last}", toy="generated")
