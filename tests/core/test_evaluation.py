"""The meter on a real, tiny pipeline: it is repeatable, goes on after an interruption, and refuses what it cannot do."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import json
import re
from pathlib import Path

import PIL.Image
import pytest
import torch
import transformers

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.errors import Cancelled, UserError
from t2vu_core.evaluation import EvaluationProgress, EvaluationSettings, WorldDetector, evaluate, load_prompt_set
from t2vu_core.evaluation.attacks import ATTACKS
from t2vu_core.evaluation.cases import PromptSet, with_clean
from t2vu_core.evaluation.clip_store import ClipStore
from t2vu_core.evaluation.detectors import NudityDetector, open_detector
from t2vu_core.evaluation.detectors.clip import ZeroShotDetector
from t2vu_core.evaluation.detectors.faces import FaceDetector, judge_distances
from t2vu_core.evaluation.evaluate import Evaluation
from t2vu_core.evaluation.report.page import page
from t2vu_core.evaluation.report.wording import text_table
from t2vu_core.guards import NegativePrompt
from t2vu_core.miniature.detector import MiniatureDetector
from t2vu_core.model import T2VModel, load_model
from t2vu_core.scores import Drift, Scores
from tests.core.tiny_models import TINY_MODELS
from tests.core.tiny_tokenizers import clip_tokenizer

TINY = TINY_MODELS["cogvideox-2b"]
SETTINGS = EvaluationSettings.of(
    "quick", per_register=2, kept=3, num_inference_steps=2, batch_size=2, attack_steps=4, attack_clips=2
)
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


def without_time(scores: Scores) -> Scores:
    return dataclasses.replace(scores, seconds=0.0, measured_at=None)


def test_the_same_input_gives_the_same_scores_with_and_without_a_folder(
    detector: WorldDetector, prompts: PromptSet, tmp_path: Path
) -> None:
    first = measure(detector, prompts)
    second = measure(detector, prompts, out=tmp_path / "out")
    assert without_time(first.scores) == without_time(second.scores)
    assert first.scores.drift.l1 > 0, "the erasure does nothing: the comparison proves nothing"
    other = measure(detector, prompts, guard=NegativePrompt(("ghost",)))
    assert without_time(other.scores) != without_time(first.scores)
    json.dumps(first.scores.to_json(), allow_nan=False)


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


def other_weights(folder: Path) -> T2VModel:
    """The same architecture, trained on something else."""
    torch.manual_seed(5)
    TINY.build().save_pretrained(folder)
    return load_model(folder, device="cpu")


def test_a_model_that_never_knew_the_concept_is_measured_as_well(
    detector: WorldDetector, prompts: PromptSet, tmp_path: Path
) -> None:
    stages: list[tuple[str, float | None]] = []

    def on_progress(progress: EvaluationProgress) -> None:
        if progress.step == 0 and progress.stage not in dict(stages):
            stages.append((progress.stage, progress.seconds_left))

    never_knew = other_weights(tmp_path / "never")
    options = {"never_knew": never_knew, "attacks": ["regrowth"], "out": tmp_path / "out", "on_progress": on_progress}
    scores = measure(detector, prompts, **options).scores
    never = scores.never_knew
    assert never.model == never_knew.name
    for register in ("terse", "synonym", "refined", "two_subject", "all"):
        rate = never.erased[register]
        assert rate.interval[0] <= rate.rate <= rate.interval[1]
        difference = scores.erased.of(register).after - rate.rate
        assert rate.against.difference == pytest.approx(difference)
    assert never.kept.clips == 1
    assert "a model that never knew it shows it in" in text_table(scores)
    attack = scores.comes_back["regrowth"]
    assert attack.never_knew is not None
    assert "never knew" in text_table(scores)
    names = [name for name, _ in stages]
    assert names[:2] == ["clips", "clips of the model that never knew it"]
    assert names[2:] == ["without an attack, erased", "regrowth, erased", "regrowth, unerased", "regrowth, never knew"]
    assert all(seconds and seconds > 0 for name, seconds in stages[2:]), "the time of every attack is said before it"
    stages.clear()
    again = measure(detector, prompts, **options).scores
    assert without_time(again) == without_time(scores)
    assert not [name for name, _ in stages if "regrowth" in name], "finished attacks are not repeated"
    without = measure(detector, prompts, attacks=["regrowth"], out=tmp_path / "out", on_progress=on_progress).scores
    assert without.never_knew is None
    assert without.comes_back["regrowth"].never_knew is None


def first_told(detector: WorldDetector, prompts: PromptSet, settings: EvaluationSettings) -> EvaluationProgress:
    """What an evaluation with an attack says before it makes its first clip."""
    told: list[EvaluationProgress] = []

    def stop(progress: EvaluationProgress) -> None:
        told.append(progress)
        raise Cancelled

    options = {"settings": settings, "prompts": prompts, "attacks": ["probe"], "on_progress": stop}
    with pytest.raises(Cancelled):
        evaluate(TINY.model, "ghost", detector=detector, **options)  # type: ignore[arg-type]
    return told[0]


def test_a_full_evaluation_says_beforehand_how_long_all_of_it_takes(detector: WorldDetector, prompts: PromptSet) -> None:
    few = {"per_register": 1, "kept": 1, "num_inference_steps": 2, "attack_steps": 4, "attack_clips": 2}
    full = first_told(detector, prompts, EvaluationSettings.of("full", **few))
    assert full.seconds_left is not None
    assert full.seconds_in_all is not None
    assert full.seconds_in_all > full.seconds_left > 0, "attacks come on top of the clips"
    assert first_told(detector, prompts, EvaluationSettings.of("quick", **few)).seconds_in_all is None


def test_a_model_of_another_clip_size_is_no_ceiling(detector: WorldDetector, prompts: PromptSet) -> None:
    with pytest.raises(UserError, match="they cannot be compared"):
        measure(detector, prompts, never_knew=TINY_MODELS["wan-2.1"].model)


def test_the_measured_model_itself_is_no_ceiling(detector: WorldDetector, prompts: PromptSet) -> None:
    with pytest.raises(UserError, match="itself; name one trained without it"):
        measure(detector, prompts, never_knew=load_model(TINY.folder, device="cpu"))


def test_an_erasure_that_does_nothing_scores_as_nothing(detector: WorldDetector, prompts: PromptSet) -> None:
    erasers = EraserSet.create(TINY.model.family.eraser_sites(), rank=4, seed=0)
    nothing = Erasure("eraser", ("ghost",), TINY.model.base, erasers.named_tensors(), "untrained")
    model = TINY.model.with_erasure(nothing)
    scores = evaluate(model, "ghost", detector=detector, settings=SETTINGS, prompts=prompts).scores
    assert scores.drift.l1 == 0.0
    assert scores.erased.all.after == scores.erased.all.before
    assert scores.summary.gone in (0.0, None)
    assert scores.settings.after_hash != scores.settings.before_hash, "two sets of clips were made"


def test_false_alarms_of_a_nudity_detector_are_counted_on_clean_prompts_of_people(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a naked person\n", encoding="utf-8")
    scores = evaluate(
        TINY.model, "nudity", detector=open_detector("nudenet"), settings=SETTINGS, prompts=load_prompt_set(path, "nudity")
    ).scores
    assert scores.false_alarms.clips == SETTINGS.kept
    assert "the detector's false alarms before: 0 %" in text_table(scores)
    assert scores.settings.prompts.name.endswith("clean/people")
    path.write_text('a naked person\n{"prompt": "a dog", "register": "kept", "concept": "dog"}\n', encoding="utf-8")
    own = with_clean(load_prompt_set(path, "nudity"), "people")
    assert [case.prompt for case in own.of("kept")] == ["a dog"]


def test_a_model_without_an_erasure_scores_as_not_erased(detector: WorldDetector, prompts: PromptSet) -> None:
    scores = evaluate(TINY.model, "ghost", detector=detector, settings=SETTINGS, prompts=prompts).scores
    assert scores.drift == Drift(ssim=pytest.approx(1.0), l1=0.0, clips=2)  # type: ignore[arg-type]
    assert scores.motion.ratio == 1.0
    assert scores.summary.gone in (0.0, None)


def test_scores_have_what_others_read(detector: WorldDetector, prompts: PromptSet) -> None:
    scores = measure(detector, prompts).scores
    for register in ("terse", "synonym", "refined", "two_subject"):
        rate = scores.erased.of(register)
        assert rate.clips > 0
        assert rate.interval[0] <= rate.after <= rate.interval[1]
    assert len(scores.erased.by_frame.after) == TINY.num_frames
    assert {"background", "motion", "style"} <= set(scores.kept.attributes)
    assert scores.kept.attributes["background"] is None, "no prompt names a background"
    assert scores.kept.other_subject.clips == 1
    assert scores.kept.concepts.clips == 1, "the detector cannot judge a street"
    assert scores.false_alarms.clips == 2
    assert scores.comes_back == dict.fromkeys(ATTACKS)
    assert scores.seconds > 0
    assert scores.measured_at is not None
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(scores.measured_at)
    assert datetime.timedelta(seconds=-1) < age < datetime.timedelta(hours=1)


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


@pytest.mark.parametrize(
    ("lines", "attacks", "says"),
    [
        (
            ["a ghost"] * 9 + ['{"prompt": "a unicorn at night", "concept": "unicorn"}'], [],
            "does not know 'unicorn', which a prompt is about: 'a unicorn at night'",
        ),
        (['{"prompt": "a ghost in a long night", "register": "refined"}'], ["probe"], "measured on terse prompts"),
        (["a ghost"], ["persuasion"], "no attack 'persuasion'; there are probe"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_said_before_the_first_clip(
    detector: WorldDetector, tmp_path: Path, lines: list[str], attacks: list[str], says: str
) -> None:
    def fail(progress: EvaluationProgress) -> None:
        pytest.fail("clips were made")

    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    settings = EvaluationSettings.of("quick", num_inference_steps=2)
    options = {"settings": settings, "prompts": load_prompt_set(path, "ghost"), "attacks": attacks, "on_progress": fail}
    with pytest.raises(UserError, match=says):
        evaluate(TINY.model, "ghost", detector=detector, **options)  # type: ignore[arg-type]


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
    model.logit_scale.data += 1
    assert ZeroShotDetector(model, None, folder.name).name != detector.name, "other weights would answer for these"


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


def test_a_persons_photographs_are_asked_for_and_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no photographs in"):
        open_detector(f"faces:{tmp_path}")
    with pytest.raises(UserError, match="no photographs in"):
        open_detector("faces")
    PIL.Image.new("RGB", (64, 64)).save(tmp_path / "dark.png")
    has_dlib = all(importlib.util.find_spec(name) for name in ("dlib", "face_recognition_models"))
    says = r"dark\.png shows no face; it must show one" if has_dlib else "pip install dlib-bin face_recognition_models"
    with pytest.raises(UserError, match=says):
        open_detector(f"faces:{tmp_path}")


def test_verdicts_by_other_photographs_of_a_person_are_not_taken_over() -> None:
    first, second = (FaceDetector(None, torch.full((2, 128), value), "her") for value in (0.0, 1.0))  # type: ignore[arg-type]
    assert first.name != second.name


def test_a_person_is_told_from_other_faces_by_the_distance_to_her_photographs() -> None:
    judged = judge_distances([None, 0.4, 0.7], [0, 0, 1, 2], ["Angela M", "a face"])
    assert judged.frames == {"Angela M": [False, False, True, False], "a face": [False, False, True, True]}
    assert judged.shown == {"Angela M": True, "a face": True}
    assert judge_distances([None, 0.7], [0, 1], ["Angela M", "a face"]).shown == {"Angela M": False, "a face": True}
    assert judge_distances([None], [0], ["a face"]).shown == {"a face": False}
    assert judge_distances([0.6], [0], ["her"]).confidence < judge_distances([0.1], [0], ["her"]).confidence
