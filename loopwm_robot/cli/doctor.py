"""Shows what is installed, what is missing and what this machine can do.

Exit status 0, or 1 when the core cannot work. Nothing is changed; rendering and real-time scheduling are
tried in processes of their own.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from .. import __version__
from .errors import RequestError, one_line

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

DISTRIBUTION = "loopwm-robot"
MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}

# One small frame through MuJoCo, then the median time of a few more.
RENDER = """
import time, mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><visual><quality shadowsize='0' offsamples='0'/></visual>"
    "<worldbody><light pos='0 0 3'/><geom type='sphere' size='.2'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 240, 320) as renderer:
    spent = []
    for _ in range(6):
        start = time.perf_counter()
        renderer.update_scene(data)
        pixels = renderer.render()
        spent.append(time.perf_counter() - start)
assert pixels.std() > 0, "the frame is empty"
print(f"{sorted(spent[1:])[2] * 1e3:.1f} ms a frame of 320 x 240")
"""

REALTIME = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); print('allowed')"


@dataclass(frozen=True)
class Finding:
    """One row of the report.

    Attributes:
        subject: what was looked at.
        state: ok, note (works, or only a part is missing) or bad (the core cannot work).
        text: what was found, and what to do about it.
    """

    subject: str
    state: str
    text: str


def run(overrides: list[str]) -> int:
    """Print the report.

    Args:
        overrides: must be empty.

    Returns:
        0, or 1 when the core cannot work.

    Raises:
        RequestError: an argument was given.
    """
    if overrides:
        raise RequestError(f"doctor got '{overrides[0]}', allowed no arguments")
    console = Console(highlight=False)
    console.print(
        f"[bold]loopwm {__version__}[/], Python {platform.python_version()}, {platform.platform()}\n"
    )
    packages = [*check_packages(), check_configs()]
    machine = list(check_machine())
    _print(console, "packages", packages)
    _print(console, "this machine", machine)
    broken = [finding.subject for finding in packages + machine if finding.state == "bad"]
    if broken:
        console.print(f"[red]The core cannot work:[/] {', '.join(broken)}")
        return 1
    console.print("[green]Ready.[/]")
    return 0


def _print(console: Console, title: str, findings: list[Finding]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("subject", no_wrap=True)
    table.add_column("state")
    table.add_column("found", overflow="fold")
    for finding in findings:
        table.add_row(finding.subject, MARKS[finding.state], finding.text.replace("[", r"\["))
    console.print(table)
    console.print()


def tested_versions() -> dict[str, str]:
    """Versions that are tested together, by distribution; empty where the list is not found."""
    package = Path(__file__).resolve().parents[1]
    for file in (package / "tested.txt", package.parent / "constraints" / "tested.txt"):
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            pins = (line.split("#")[0].strip().split("==") for line in lines)
            return {_canonical(pin[0]): pin[1] for pin in pins if len(pin) == 2}
    return {}


def check_packages() -> Iterator[Finding]:
    """Each package that the project needs: its version, the tested one, and whether it fits the range."""
    try:
        wanted = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding(DISTRIBUTION, "bad", "not installed; pip install -e . in the clone")
        return
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Finding("packaging", "bad", "not installed; pip install packaging")
        return
    tested = tested_versions()
    extras: dict[str, list[str]] = {}
    for requirement in map(Requirement, wanted):
        name, marker = requirement.name, requirement.marker
        extra = re.search(r"extra == .([\w-]+)", str(marker or ""))
        if extra and marker:
            missing = extras.setdefault(extra[1], [])
            if marker.evaluate({"extra": extra[1]}) and _version(name) is None:
                missing.append(name)
        elif marker and not marker.evaluate():
            yield Finding(name, "note", f"not for this Python ({marker})")
        else:
            yield _compare(str(requirement), name, requirement.specifier, tested.get(_canonical(name)))
    for extra_name, missing in extras.items():
        advice = f"not installed: {', '.join(missing)}; pip install '{DISTRIBUTION}[{extra_name}]'"
        yield Finding(f"extra {extra_name}", *(("note", advice) if missing else ("ok", "installed")))


def _compare(requirement: str, name: str, allowed: SpecifierSet, tested: str | None) -> Finding:
    version = _version(name)
    if version is None:
        return Finding(name, "bad", f"not installed; pip install '{requirement}'")
    if not allowed.contains(version, prereleases=True):
        return Finding(name, "bad", f"{version}, allowed {allowed}; pip install '{requirement}'")
    if tested and version.partition("+")[0] != tested:
        return Finding(name, "note", f"{version}, in range; tested with {tested}")
    return Finding(name, "ok", version)


def check_configs() -> Finding:
    """The folder with the configuration files."""
    try:
        from ..config import config_dir

        return Finding("configs", "ok", str(config_dir()))
    except Exception as error:
        return Finding("configs", "bad", one_line(error))


def check_machine() -> Iterator[Finding]:
    """What this machine can do."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    advice = "" if cores > 1 else "; the planner and the control loop will share one core"
    yield Finding("cores", "ok" if cores > 1 else "note", f"{cores}, {memory()}{advice}")
    yield from check_torch()
    yield check_rendering()
    yield check_realtime()
    yield check_ffmpeg()


def memory() -> str:
    """The size of the memory."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    except (ValueError, OSError, AttributeError):
        return "memory unknown"


def check_torch() -> Iterator[Finding]:
    """Whether torch loads, with its threads, instruction sets and accelerators."""
    try:
        import torch
    except Exception as error:  # a broken binary can raise anything
        yield Finding("torch", "bad", f"cannot be imported: {one_line(error)}")
        return
    flags = cpu_flags()
    units = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8") if name in flags]
    kernels = torch.backends.cpu.get_cpu_capability()
    sets = f"; the processor has {', '.join(units)}" if units else ""
    yield Finding("torch", "ok", f"{torch.get_num_threads()} threads, {kernels} kernels{sets}")
    if torch.cuda.is_available():
        names = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
        yield Finding("CUDA", "ok", f"{', '.join(names)}; device=cuda uses the first, device=cpu is the default")
    elif torch.version.cuda is None:
        yield Finding("CUDA", "note", "this torch is built without; device=cuda is not possible, device=cpu is")
    else:
        yield Finding("CUDA", "note", f"built for {torch.version.cuda}, but no GPU is found: see nvidia-smi")


def cpu_flags() -> set[str]:
    """Instruction sets of the processor as Linux names them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return set(next(lines, "").partition(":")[2].split())


def check_rendering() -> Finding:
    """Whether MuJoCo renders without a window; only videos and pictures need it."""
    backend = os.environ.get("MUJOCO_GL") or ("egl" if sys.platform == "linux" else "")
    environment = {**os.environ, **({"MUJOCO_GL": backend} if backend else {})}
    done, text = _try(RENDER, environment)
    name = f"rendering ({backend or 'default'})"
    if done:
        return Finding(name, "ok", text)
    return Finding(name, "note", f"{text}; no videos. On Debian and Ubuntu: apt-get install libegl1")


def check_realtime() -> Finding:
    """Whether the control process may ask for real-time priority."""
    if not hasattr(os, "SCHED_FIFO"):
        return Finding("SCHED_FIFO", "note", "not on this system; control runs at normal priority")
    done, _ = _try(REALTIME, dict(os.environ))
    if done:
        return Finding("SCHED_FIFO", "ok", "real-time priority allowed")
    return Finding(
        "SCHED_FIFO",
        "note",
        "not allowed; for a real arm set rtprio in /etc/security/limits.d, see ulimit -r",
    )


def check_ffmpeg() -> Finding:
    """Whether videos can be encoded."""
    try:
        import imageio_ffmpeg

        return Finding("ffmpeg", "ok", imageio_ffmpeg.get_ffmpeg_version())
    except Exception as error:  # the package raises RuntimeError, and OSError for a broken binary
        return Finding("ffmpeg", "note", f"{one_line(error)}; no videos")


def _try(code: str, environment: dict[str, str]) -> tuple[bool, str]:
    """Run a few lines of Python apart; the last line it printed, or of its error."""
    command = [sys.executable, "-c", code]
    try:
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, one_line(error)
    lines = (result.stdout if result.returncode == 0 else result.stderr).strip().splitlines()
    return result.returncode == 0, lines[-1] if lines else f"exit status {result.returncode}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
