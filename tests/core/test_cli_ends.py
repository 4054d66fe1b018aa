"""How the command line ends where something goes wrong: one line, no traceback, whatever it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from t2vu_core.cli import main
from tests.core.ctrl_c import ctrl_c_works
from tests.core.tiny_models import TINY_MODELS

REPOSITORY = Path(__file__).parents[2]
TINY = TINY_MODELS["cogvideox-2b"]


def _sample(folder: Path, out: Path, *more: str) -> list[str]:
    return ["sample", "--model", str(folder), "--device", "cpu", "--prompt", "x", "--out", str(out), *more]


PRESSED_AT_THE_FIRST_IMPORT = """
import signal, sys
class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("t2vu_core.commands."):
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, CtrlC())
from t2vu_core.cli import main
sys.exit(main(["models"]))
"""


def test_ctrl_c_while_the_program_still_starts_shows_no_traceback() -> None:
    with ctrl_c_works():
        done = subprocess.run(
            [sys.executable, "-c", PRESSED_AT_THE_FIRST_IMPORT], capture_output=True, text=True, cwd=REPOSITORY
        )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "t2vu: stopped.\n")


def test_weights_that_do_not_fit_are_not_blamed_on_the_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY.folder, folder)
    config = folder / "text_encoder" / "config.json"
    changed = json.loads(config.read_text(encoding="utf-8"))
    changed["d_ff"] *= 2
    config.write_text(json.dumps(changed), encoding="utf-8")
    assert main(_sample(folder, tmp_path / "clip.mp4")) in (1, 2)
    said = capsys.readouterr().err
    assert "device" not in said
    assert said.count("\n") == 1
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("fps", ["0", "-8", "100000"])
def test_a_frame_rate_that_no_file_holds_is_refused_before_sampling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fps: str
) -> None:
    assert main(_sample(TINY.folder, tmp_path / "clip.gif", "--fps", fps)) == 2
    assert "--fps must be between 1 and" in capsys.readouterr().err
    assert not (tmp_path / "clip.gif").exists()
