"""An emulator as a child process, for tests and rehearsals: start it, let it fail, look at the true arm."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import ControlProcessError
from ..interface import Array


class EmulatorProcess:
    """Start an emulator and talk to its side channel. It ends with this process at the latest.

    Args:
        name: of `emulators.EMULATORS`.
        arguments: its command-line arguments.
        timeout: how long to wait for an answer [s].
        module: that is run instead, for one that is not among them.

    Attributes:
        ready: what the emulator says about where to connect, such as {"port": "/dev/pts/7"}.
    """

    def __init__(self, name: str, *arguments: str, timeout: float = 30.0, module: str = "") -> None:
        self.name, self._timeout = name, timeout
        path = os.pathsep.join(os.path.abspath(p) for p in sys.path)
        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        what = [module] if module else [__name__.rpartition(".")[0], name]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", *what, *arguments, "--until-eof"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self.ready: Mapping[str, Any] = self._answer()["ready"]
        except BaseException:
            self.close()
            raise

    def ask(self, word: str, **settings: Any) -> dict[str, Any]:
        """Send a command and return the answer.

        Raises:
            ValueError: the emulator refused it.
            ControlProcessError: the emulator is gone or does not answer.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": word, **settings}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ControlProcessError(f"emulator '{self.name}' is gone: {error}") from error
        answer = self._answer()
        if "error" in answer:
            raise ValueError(f"emulator '{self.name}' refused '{word}': {answer['error']}")
        return answer

    def inject(self, kind: str, **settings: Any) -> None:
        """Let something fail."""
        self.ask(kind, **settings)

    def heal(self) -> None:
        """End the failures that can end."""
        self.ask("heal")

    def truth(self) -> Array:
        """True joint positions of the simulated arm (n,) [rad], in the order of its joints."""
        return np.array(self.ask("truth")["q"], dtype=np.float64)

    def kill(self) -> None:
        """End it without a goodbye, as a crash would."""
        self._process.kill()
        self._process.wait()

    def suspend(self) -> None:
        """Stop the process (SIGSTOP): it neither answers nor hangs up."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended process go on."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it. Idempotent."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # a command that it did not live to read
                    pipe.close()

    def __enter__(self) -> EmulatorProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # closed while reading
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def _answer(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=self._timeout)
        except Empty:
            raise ControlProcessError(
                f"emulator '{self.name}' does not answer within {self._timeout:g} s"
            ) from None
        if not line:
            raise ControlProcessError(
                f"emulator '{self.name}' ended (exit status {self._process.poll()}); its error is on stderr"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer
