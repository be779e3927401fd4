"""Files are whole or absent; a folder has one writer."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from loopwm_robot.errors import RequestError
from loopwm_robot.files import tidy, whole_file
from loopwm_robot.lock import lock
from loopwm_robot.runs import RunFolder, write_text


def is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def test_a_file_is_synced_before_its_rename_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that a power cut needs: content, name, folder."""
    done = []
    fsync, replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        done.append("folder" if is_folder(descriptor) else "file")
        fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    with whole_file(tmp_path / "x") as file:
        file.write(b"content")
        assert not (tmp_path / "x").exists()
    assert (tmp_path / "x").read_bytes() == b"content"
    assert done == ["file", "rename", "folder"]


@pytest.mark.parametrize("number, fails", [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: bool
) -> None:
    """Some file systems know no such thing; a broken disk is another matter."""
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        if is_folder(descriptor):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    if fails:
        with pytest.raises(OSError, match="Input/output"):
            write_text(tmp_path / "x", "new")
    else:
        assert write_text(tmp_path / "x", "new").read_text() == "new"


def test_a_failure_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old")
    with pytest.raises(ValueError, match="broken"), whole_file(tmp_path / "x") as file:
        file.write(b"half")
        raise ValueError("broken")
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "old"


def test_only_what_was_left_half_written_is_removed(tmp_path: Path) -> None:
    """And not what another run, which may be going on, is writing."""
    for name in (".a.npz.12.tmp", "sub/.b.tmp", "sub/c.tmp", ".hidden", "d", "run/log.txt", "run/.e.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    tidy(tmp_path, "log.txt")
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".e.tmp", ".hidden", "c.tmp", "d", "log.txt", "run", "sub"]


def test_a_run_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    first = RunFolder.create("train", tmp_path / "run")
    write_text(first.path / "config.yaml", "seed: 1\n")
    imports = "from loopwm_robot.lock import lock; from pathlib import Path; "
    hold = f"{imports} L = lock(Path({str(first.path / 'log.txt')!r}), 'x')"
    with subprocess.Popen(
        [sys.executable, "-c", f"{hold}\nL.__enter__(); print('held', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        leftover = first.path / ".state.1.tmp"
        leftover.touch()
        with pytest.raises(RequestError, match=r"run folder .*run is in use by another process.* wait until that has"):
            RunFolder.create("train", resume=first.path).__enter__()
        assert leftover.exists()  # the other one may be writing it
        other.kill()
        other.wait()
        with RunFolder.create("train", resume=first.path) as run:
            assert not leftover.exists()
            with pytest.raises(RequestError, match="in use"), lock(run.path / "log.txt", "the folder"):
                pass
    with RunFolder.create("train", resume=first.path):
        pass


def test_a_folder_whose_run_was_killed_before_it_began_can_be_used(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.txt").touch()
    (run / ".config.yaml.77.tmp").write_text("seed")
    assert RunFolder.create("train", run).path == run


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("loopwm_robot.lock.fcntl.flock", refuse)
    with lock(tmp_path / "x", "run folder x"):
        pass
    assert "run folder x cannot be locked (No locks available)" in caplog.text
