"""The command line: what it prints, what it leaves, and how it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from t2vu_core.formatting import parse_options
from t2vu_core.recipes import LOW_MEMORY
from tests.core.ctrl_c import press_ctrl_c_when
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
FEW = ["concept_trajectories=2", "preserve_trajectories=2", "trajectory_steps=2", "steps=4", "rank=4"]


def model_options() -> list[object]:
    return ["--model", TINY.folder, "--device", "cpu"]


def erase(t2vu: Callable, out: Path, *more: object) -> tuple[int, str, str]:
    options = [part for setting in FEW for part in ("--method-option", setting)]
    return t2vu("erase", *model_options(), "--concept", "ghost", "--out", out, "--preset", "quick", *options, *more)


@pytest.mark.smoke
def test_erase_then_inspect_then_sample(t2vu: Callable, tmp_path: Path) -> None:
    code, out, _ = erase(t2vu, tmp_path / "ghost.safetensors", "--json")
    assert code == 0
    assert json.loads(out)["concept"] == "ghost"
    code, out, _ = t2vu("inspect", tmp_path / "ghost.safetensors", "--json")
    described = json.loads(out)
    assert (described["concepts"], described["scores"], described["recipe"]["steps"]) == (["ghost"], None, 4)
    clip = tmp_path / "clip.mp4"
    sample = ["sample", *model_options(), "--prompt", "a ghost", "--steps", 2, "--out", clip, "--json"]
    code, out, _ = t2vu(*sample, "--erasure", tmp_path / "ghost.safetensors", "--strength", 0.5)
    assert code == 0
    assert json.loads(out)["erased"] == ["ghost"]
    with av.open(str(clip)) as container:
        frames = list(container.decode(video=0))
    assert (len(frames), frames[0].width, frames[0].height) == (9, 48, 32)


@pytest.mark.smoke
def test_a_lora_is_erased_with_and_the_log_shows_the_mask(t2vu: Callable, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code, out, _ = erase(t2vu, tmp_path / "ghost", "--method-option", "kind=lora", "--log", log, "--json")
    assert code == 0
    told = json.loads(out)
    with av.open(told["mask_overlay"]) as container:
        assert len(list(container.decode(video=0))) >= 9
    sample = ["sample", *model_options(), "--prompt", "a ghost", "--steps", 2, "--out", tmp_path / "clip.mp4"]
    assert t2vu(*sample, "--erasure", told["out"])[0] == 0
    code, out, _ = t2vu("inspect", told["out"], "--json")
    assert json.loads(out)["recipe"]["kind"] == "lora"


def test_the_same_seed_samples_the_same_clip(t2vu: Callable, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        t2vu("sample", *model_options(), "--prompt", "x", "--steps", 2, "--seed", seed, "--out", tmp_path / f"{name}.webp")
    clips = {name: (tmp_path / f"{name}.webp").read_bytes() for name in "abc"}
    assert clips["a"] == clips["b"] != clips["c"]


def test_a_guard_keeps_a_concept_out_of_one_clip(t2vu: Callable, tmp_path: Path) -> None:
    def sample(name: str, *more: object) -> tuple[bytes, dict]:
        clip = tmp_path / f"{name}.webp"
        options = ["--prompt", "a red ghost floats", "--steps", 2, "--guidance-scale", 3, "--out", clip, "--json"]
        code, out, _ = t2vu("sample", *model_options(), *options, *more)
        assert code == 0
        return clip.read_bytes(), json.loads(out)

    free, told = sample("free")
    guarded, said = sample("guarded", "--guard", "negative_prompt", "--concept", "ghost", "--concept", "robot")
    stock, _ = sample("stock", "--negative-prompt", "ghost, robot")
    assert told["guard"] is None
    assert said["guard"] == {"name": "negative_prompt", "concepts": ["ghost", "robot"], "guidance_scale": None}
    assert guarded == stock != free


def test_a_stopped_training_goes_on_with_resume(t2vu: Callable, tmp_path: Path) -> None:
    assert erase(t2vu, tmp_path / "a", "--log", tmp_path / "log")[0] == 0
    code, _, error = erase(t2vu, tmp_path / "a", "--log", tmp_path / "log")
    assert code == 2
    assert "--resume" in error
    assert erase(t2vu, tmp_path / "b", "--log", tmp_path / "log", "--resume")[0] == 0


def test_ctrl_c_keeps_what_was_trained_and_resume_could_go_on(t2vu: Callable, tmp_path: Path) -> None:
    press_ctrl_c_when((tmp_path / "log" / "state.safetensors").is_file)
    handler = signal.getsignal(signal.SIGINT)
    code, out, _ = erase(t2vu, tmp_path / "ghost", "--method-option", "steps=100000", "--log", tmp_path / "log", "--json")
    assert signal.getsignal(signal.SIGINT) is handler
    told = json.loads(out)
    assert (code, told["stopped"]) == (0, True)
    assert 25 <= told["steps"] < 100_000
    code, out, _ = t2vu("inspect", told["out"], "--json")
    assert json.loads(out)["training"]["steps"] == told["steps"]
    # What the message says: the same command with --resume goes on, and can be stopped again.
    state = tmp_path / "log" / "state.safetensors"
    first = state.stat().st_mtime_ns
    press_ctrl_c_when(lambda: state.stat().st_mtime_ns > first)
    options = ("--method-option", "steps=100000", "--log", tmp_path / "log", "--resume")
    code, out, _ = erase(t2vu, tmp_path / "ghost", *options)
    assert f"run the same command with --resume to continue from {tmp_path / 'log'}" in out
    code, out, _ = t2vu("inspect", told["out"], "--json")
    assert json.loads(out)["training"]["steps"] > told["steps"]


def test_every_field_of_the_recipe_is_a_method_option_and_low_memory_sets_some(t2vu: Callable, tmp_path: Path) -> None:
    code, out, _ = erase(t2vu, tmp_path / "ghost", "--seed", 1, "--low-memory", "--method-option", "seed=5", "--json")
    assert code == 0
    code, out, _ = t2vu("inspect", json.loads(out)["out"], "--json")
    used = json.loads(out)["recipe"]
    assert used["seed"] == 5
    assert {name: used[name] for name in LOW_MEMORY} == LOW_MEMORY


def test_an_erasure_that_did_nothing_says_so(t2vu: Callable, tmp_path: Path) -> None:
    code, out, _ = erase(t2vu, tmp_path / "ghost", "--method-option", "learning_rate=0.0000001")
    assert code == 0
    assert "Warning: The training did next to nothing: 'ghost' went 0% of the way" in out


def test_warnings_are_told_once_and_without_verbose(tmp_path: Path) -> None:
    changes = [*FEW, "two_subject_trajectories=2", "learning_rate=0.0000001"]
    few = [part for setting in changes for part in ("--method-option", setting)]
    options = ["--concept", "in noir style", "--out", tmp_path / "noir", "--preset", "quick"]
    command = [sys.executable, "-m", "t2vu_core.cli", "erase", *map(str, (*model_options(), *options, *few))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "t2vu: 'in noir style' is a style" in done.stderr
    assert "Warning: The training did next to nothing" in done.stdout
    assert "next to nothing" not in done.stderr


def test_models_lists_what_ships_and_what_is_known(t2vu: Callable) -> None:
    code, out, _ = t2vu("models", "--json")
    listed = json.loads(out)
    assert code == 0
    assert "miniature" in [model["name"] for model in listed["bundled"]]
    assert {"cogvideox", "wan"} <= {family["name"] for family in listed["families"]}


@pytest.mark.parametrize(
    "command",
    ["models", "sample", "erase", "unlearn-encoder", "inspect", "miniature", "evaluate", "verify", "export", "import"],
)
def test_every_command_has_help(t2vu: Callable, command: str) -> None:
    code, out, _ = t2vu(command, "--help")
    assert code == 0
    assert "--json" in out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["sample", "--model", "nonesuch", "--prompt", "x", "--out", "a.mp4"], "no model 'nonesuch'"),
        (["sample", "--model", "MODEL", "--prompt", "x", "--out", "a.avi"], "end it in .mp4"),
        (["sample", "--model", "MODEL", "--prompt", "x", "--out", "a.mp4", "--width", "50"], "multiples of"),
        (["sample", "--model", "MODEL", "--prompt", "x", "--out", "a.mp4", "--num-frames", "6"], "frames"),
        (["sample", "--model", "MODEL", "--prompt", "x", "--out", "a.mp4", "--erasure", "none.safetensors"], "no erasure file"),
        (["sample", "--model", "MODEL", "--prompt", "x", "--out", "a.mp4", "--strength", "strong"], "invalid float"),
        (["sample", "--model", "MODEL", "--prompt", "x", "--out", "a.mp4", "--device", "abacus"], "cannot be used"),
        (["sample", "--model", "MODEL", "--prompt", "x", "--out", "/proc/none/a.mp4"], "Cannot write"),
        (["sample", "--model", "MODEL", "--prompt", "x", "--out", "a.mp4", "--guard", "safree"], "guard needs a concept"),
        (["sample", "--model", "MODEL", "--prompt", "x", "--out", "a.mp4", "--concept", "x"], "with --guard"),
        (["sample", "--model", "MODEL", "--prompt", "x", "--out", "a.mp4", "--guard", "magic"], "invalid choice"),
        (
            [
                *("sample", "--model", "MODEL", "--prompt", "x", "--out", "a.mp4", "--guard", "negative_prompt"),
                *("--concept", "x", "--negative-prompt", "fog"),
            ],
            "replaces --negative-prompt",
        ),
        (["evaluate", "--model", "MODEL", "--concept", "ghost", "--out", "/proc/none/report"], "Cannot write"),
        (["erase", "--model", "MODEL", "--concept", " ", "--out", "a"], "concept is empty"),
        (["erase", "--model", "MODEL", "--concept", "x", "--out", "."], "is a folder"),
        (["erase", "--model", "MODEL", "--concept", "x", "--out", "a", "--method-option", "eta=high"], "eta"),
        (["erase", "--model", "MODEL", "--concept", "x", "--out", "a", "--method-option", "eta"], "KEY=VALUE"),
        (["erase", "--model", "MODEL", "--concept", "x", "--out", "a", "--method-option", "augmentation=x"], "grammar"),
        (["erase", "--model", "MODEL", "--concept", "x", "--out", "a", "--method-option", "kind=adapter"], "lora"),
        (["erase", "--model", "MODEL", "--concept", "x", "--out", "a", "--method-option", "speed=1"], "no setting 'speed'"),
        (["erase", "--model", "MODEL", "--concept", "x", "--out", "a", "--preserve-prompts", "none.txt"], "cannot be read"),
        (["erase", "--model", "MODEL", "--concept", "x", "--out", "a", "--resume"], "--resume needs --log"),
        (["erase", "--model", "MODEL", "--concept", "x"], "--out"),
        (["inspect", "nothing.safetensors"], "no erasure file"),
        (["miniature", "check", "--clips", "0"], "--clips must be at least 8, not 0"),
        (["dance"], "invalid choice"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    t2vu: Callable, arguments: list[str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, error = t2vu(*[str(TINY.folder) if argument == "MODEL" else argument for argument in arguments])
    said = [line for line in error.splitlines() if line.startswith("t2vu:")]
    assert code == 2
    assert len(said) == 1
    assert hint in said[0]
    assert "Traceback" not in error
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_options_of_the_method_are_numbers_words_and_switches() -> None:
    pairs = ["steps=4", "eta=1.5", "augmentation=grammar", "gradient_checkpointing=true"]
    assert parse_options(pairs) == {"steps": 4, "eta": 1.5, "augmentation": "grammar", "gradient_checkpointing": True}
