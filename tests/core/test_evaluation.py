"""The meter on a real, tiny pipeline: it is repeatable, goes on after an interruption, and refuses what it cannot do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import transformers

from t2vu_core.errors import Cancelled, UserError
from t2vu_core.evaluation import EvaluationProgress, EvaluationSettings, WorldDetector, evaluate, load_prompt_set
from t2vu_core.evaluation.cases import PromptSet
from t2vu_core.evaluation.clip_store import ClipStore
from t2vu_core.evaluation.detectors import NudityDetector, open_detector
from t2vu_core.evaluation.evaluate import Evaluation
from t2vu_core.evaluation.report import page
from t2vu_core.guards import NegativePrompt
from t2vu_core.miniature.detector import MiniatureDetector
from tests.core.tiny_models import TINY_MODELS, clip_tokenizer

TINY = TINY_MODELS["cogvideox-2b"]
SETTINGS = EvaluationSettings.of("quick", per_register=2, kept=3, num_inference_steps=2, batch_size=2)
LINES = [
    '{"prompt": "a red ghost", "facts": {"motion": "left", "style": "noir"}}',
    '{"prompt": "a <b>ghost</b> floats"}',
    '{"prompt": "a specter", "register": "synonym"}',
    '{"prompt": "a quiet ghost in a long and quiet night", "register": "refined"}',
    '{"prompt": "a ghost and a robot", "register": "two_subject", "facts": {"subject": "robot"}}',
    '{"prompt": "a robot", "register": "kept", "concept": "robot"}',
    '{"prompt": "a street", "register": "kept", "concept": "a street"}',
]
CLIPS = 7


@pytest.fixture(scope="module")
def detector() -> WorldDetector:
    torch.manual_seed(0)
    return WorldDetector(MiniatureDetector().eval())


@pytest.fixture
def prompts(tmp_path: Path) -> PromptSet:
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return load_prompt_set(path, "ghost")


def measure(detector: WorldDetector, prompts: PromptSet, guard: NegativePrompt | None = None, **options: object) -> Evaluation:
    model = TINY.model.with_erasure(TINY.random_erasure("bottleneck")).with_guard(guard)
    return evaluate(model, "ghost", detector=detector, settings=SETTINGS, prompts=prompts, **options)  # type: ignore[arg-type]


def without_time(scores: dict) -> dict:
    return {name: value for name, value in scores.items() if name != "seconds"}


def test_the_same_input_gives_the_same_scores_with_and_without_a_folder(
    detector: WorldDetector, prompts: PromptSet, tmp_path: Path
) -> None:
    first = measure(detector, prompts)
    second = measure(detector, prompts, out=tmp_path / "out")
    assert without_time(first.scores) == without_time(second.scores)
    assert first.scores["drift"]["l1"] > 0, "the erasure does nothing: the comparison proves nothing"
    other = measure(detector, prompts, guard=NegativePrompt(("ghost",)))
    assert without_time(other.scores) != without_time(first.scores)
    json.dumps(first.scores, allow_nan=False)


def test_an_interrupted_evaluation_goes_on_without_repeating_clips(
    detector: WorldDetector, prompts: PromptSet, tmp_path: Path
) -> None:
    def stop(progress: EvaluationProgress) -> None:
        if progress.step >= 6:
            raise Cancelled

    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        measure(detector, prompts, out=out, on_progress=stop)
    made = {path: path.stat().st_mtime_ns for path in (out / "clips").rglob("*.safetensors")}
    assert 4 <= len(made) < 2 * CLIPS
    with (out / "verdicts.jsonl").open("a") as file:
        file.write('{"key": "half a li')
    resumed = measure(detector, prompts, out=out)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert without_time(resumed.scores) == without_time(measure(detector, prompts).scores)
    assert len(list((out / "clips").rglob("*.safetensors"))) == 2 * CLIPS


def test_a_model_without_an_erasure_scores_as_not_erased(detector: WorldDetector, prompts: PromptSet) -> None:
    scores = evaluate(TINY.model, "ghost", detector=detector, settings=SETTINGS, prompts=prompts).scores
    assert scores["drift"] == {"ssim": pytest.approx(1.0), "l1": 0.0, "clips": 2}
    assert scores["motion"]["ratio"] == 1.0
    assert scores["summary"]["gone"] in (0.0, None)


def test_scores_have_what_others_read(detector: WorldDetector, prompts: PromptSet) -> None:
    scores = measure(detector, prompts).scores
    for register in ("terse", "synonym", "refined", "two_subject"):
        rate = scores["erased"][register]
        assert {"before", "after", "clips", "interval"} <= set(rate)
        assert rate["interval"][0] <= rate["after"] <= rate["interval"][1]
    assert len(scores["erased"]["by_frame"]["after"]) == TINY.num_frames
    assert {"before", "after", "interval"} <= set(scores["kept"]["concepts"])
    assert {"background", "motion", "style"} <= set(scores["kept"]["attributes"])
    assert scores["kept"]["attributes"]["background"] is None, "no prompt names a background"
    assert scores["kept"]["other_subject"]["clips"] == 1
    assert scores["kept"]["concepts"]["clips"] == 1, "the detector cannot judge a street"
    assert scores["false_alarms"]["clips"] == 2
    assert scores["comes_back"] == {"probe": None, "prompt_attack": None, "regrowth": None}
    assert scores["seconds"] > 0


def test_a_concept_without_prompts_a_strange_concept_and_another_erasure_are_refused(
    detector: WorldDetector, prompts: PromptSet
) -> None:
    with pytest.raises(UserError, match=r"does not know the concept 'unicorn'; it knows ghost, robot"):
        evaluate(TINY.model, "unicorn", detector=detector, prompts=prompts)
    with pytest.raises(UserError, match="does not know the concept ' '"):
        evaluate(TINY.model, " ", detector=detector, prompts=prompts)
    erased = TINY.model.with_erasure(TINY.random_erasure("bottleneck"))
    with pytest.raises(UserError, match="erasure is for ghost, not for 'robot'"):
        evaluate(erased, "robot", detector=detector)
    with pytest.raises(UserError, match="No prompt set for 'nudity' ships"):
        evaluate(TINY.model, "nudity", detector=NudityDetector(None, (), "none"))
    with pytest.raises(UserError, match="Attacks are on a model's weights"):
        evaluate(erased.with_guard(NegativePrompt(("ghost",))), "ghost", detector=detector, attacks=["probe"])


def test_a_prompt_about_something_the_detector_cannot_see_is_named(detector: WorldDetector, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a unicorn at night", "concept": "unicorn"}', encoding="utf-8")
    with pytest.raises(UserError, match="does not know 'unicorn', which a prompt is about: 'a unicorn at night'"):
        measure(detector, load_prompt_set(path, "ghost"))


def test_clips_that_do_not_fit_on_the_disk_are_refused_before_any_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="clips need .* MiB free"):
        ClipStore(tmp_path).check_space(10**9, 10**9)
    ClipStore(tmp_path).check_space(2, 1000)


def test_a_damaged_clip_is_named(tmp_path: Path) -> None:
    store = ClipStore(tmp_path)
    store.put("abcd", torch.rand(2, 3, 4, 4))
    file = next(tmp_path.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match=r"abcd\.safetensors is damaged"):
        store.get("abcd")


def test_the_report_holds_all_it_shows_and_no_markup_of_the_users(detector: WorldDetector, prompts: PromptSet) -> None:
    html = page(measure(detector, prompts), erasures=[TINY.random_erasure("bottleneck")])
    assert html.count("data:image/webp;base64,") == 14
    assert not re.search(r"(src|href)=\"(?!data:)", html), "the page loads something from elsewhere"
    assert "<b>ghost</b>" not in html
    assert "&lt;b&gt;ghost&lt;/b&gt;" in html
    data = re.search(r'id="scores">(.*?)</script>', html)
    assert data is not None
    assert json.loads(data[1])["concept"] == "ghost"


def test_detectors_are_opened_by_name_or_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no detector 'oracle'"):
        open_detector("oracle")
    with pytest.raises(UserError, match="holds no CLIP model"):
        open_detector(f"clip:{tmp_path}")


def test_a_clip_model_from_a_folder_judges_any_words_and_says_that_its_errors_are_unknown(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path)
    detector = open_detector(f"clip:{folder}")
    assert detector.known() == ()
    assert detector.resolve(" a  red ghost ") == "a red ghost"
    assert detector.accuracy("a red ghost") is None
    clips = torch.rand(2, 11, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    judged = detector.judge(clips, ["a red ghost", "a street"])
    assert [set(judgement.shown) for judgement in judged] == [{"a red ghost", "a street"}] * 2
    assert all(len(judgement.frames["a street"]) == 11 for judgement in judged)
    model = detector.model  # type: ignore[attr-defined]
    pixels = detector.processor(images=list(clips[0, :1]), do_rescale=False, return_tensors="pt")  # type: ignore[attr-defined]
    theirs = model(**pixels, **detector.processor(text=["a photo"], return_tensors="pt")).image_embeds  # type: ignore[attr-defined]
    torch.testing.assert_close(detector._embed_images(clips[0, :1]), theirs)  # type: ignore[attr-defined]


def tiny_clip(folder: Path) -> Path:
    """A real CLIP model with random weights, as transformers saves it."""
    tokenizer = clip_tokenizer()
    text = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    size = {"shortest_edge": 32}
    images = transformers.CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32})
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def test_nudenet_finds_nothing_in_drawings_and_knows_only_nudity() -> None:
    detector = open_detector("nudenet")
    assert detector.resolve("naked people") == "nudity"
    assert detector.resolve("ghost") is None
    clips = torch.full((1, 3, 3, 64, 64), 0.5)
    assert detector.judge(clips, ["nudity"])[0].frames == {"nudity": [False] * 3}
    assert "ARMPITS" in open_detector("nudenet:wide").name
    with pytest.raises(UserError, match="no class 'ELBOW'; it has ANUS"):
        open_detector("nudenet:ELBOW")
