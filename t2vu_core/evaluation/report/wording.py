"""Scores in words: two sentences for people, and a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from t2vu_core.evaluation.verdict import KEPT_BELOW, STILL_BELOW, Verdict, is_damaged, motion_kept
from t2vu_core.scores import AttackScores, Difference, Instead, MeasuredWith, Rate, Realism, Scores, SecondJudgement

REGISTER_TITLES = {
    "terse": "short prompts",
    "synonym": "other names",
    "refined": "long, refined prompts",
    "two_subject": "two subjects",
    "all": "all prompts",
}
DIFFER_ABOVE = 0.05
"""Share of clips about which two judges may differ before the words say so."""
Row = tuple[str, str, str, str, str]


def sentences(scores: Scores) -> str:
    """The verdict in two sentences: what became of the concept, and of everything else."""
    return f"{_gone(scores)} {_kept(scores)}"


def spoken(scores: Scores | None) -> str:
    """The scores that an erasure file carries, in words."""
    return "not measured" if scores is None else sentences(scores)


def table(scores: Scores) -> list[Row]:
    """Rows (what, before, after, 95 % interval of after, clips) of all rates that were counted."""
    kept = scores.kept
    rows = [(f"shows it, {title}", scores.erased.of(name)) for name, title in REGISTER_TITLES.items()]
    rows += [("shows other concepts", kept.concepts), ("shows the other of two subjects", kept.other_subject)]
    rows += [("shows it without being asked", scores.false_alarms)]
    rows += [(f"{name} as asked", rate) for name, rate in kept.attributes.items()]
    return [(what, *_cells(rate)) for what, rate in rows if rate]


def named_table(scores: Scores) -> list[Row]:
    """The same with the concept's name: "shows ghost, short prompts"."""
    return [(row[0].replace("shows it", f"shows {scores.concept}", 1), *row[1:]) for row in table(scores)]


def text_table(scores: Scores) -> str:
    """The verdict and the table as plain text."""
    rows = [("", "before", "after", "95 % interval", "clips"), *table(scores)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([sentences(scores), "", *lines, *_measures(scores)])


def percent(share: float | None) -> str:
    """0.053 -> "5 %"; "-" if nothing was measured."""
    return "-" if share is None else f"{100 * share:.0f} %"


def interval(bounds: Sequence[float] | None) -> str:
    """(0.02, 0.13) -> "2 to 13 %"."""
    return "-" if bounds is None else f"{100 * bounds[0]:.0f} to {100 * bounds[1]:.0f} %"


def with_interval(share: float | None, bounds: Sequence[float] | None) -> str:
    """0.5 and (0.1, 0.9) -> "50 % (10 to 90 %)"."""
    return percent(share) if bounds is None else f"{percent(share)} ({interval(bounds)})"


def points(result: Difference) -> str:
    """A difference with its interval: "+3 points (-1 to +9)"."""
    low, high = result.interval
    return f"{100 * result.difference:+.0f} points ({100 * low:+.0f} to {100 * high:+.0f})"


def difference(result: Difference) -> str:
    """The same, and whether it is significant: "+3 points (-1 to +9), not significant"."""
    return f"{points(result)}, {'significant' if result.is_one else 'not significant'}"


def _gone(scores: Scores) -> str:
    rate, verdict, concept = scores.erased.all, Verdict.of(scores), scores.concept
    if rate is None or verdict is None:
        return f"No prompt asked for {concept!r}."
    seen, was = round(rate.after * rate.clips), round(rate.before * rate.clips)
    return (
        f"{verdict.value}: {seen} of {rate.clips} clips that ask for {concept!r} show it ({percent(rate.after)}, "
        f"95 % interval {interval(rate.interval)}), {was} before ({percent(rate.before)}){_attacked(scores)}.{_damage(scores)}"
    )


def _damage(scores: Scores) -> str:
    if scores.instead is None or not is_damaged(scores):
        return ""
    return f" {percent(scores.instead.debris)} of these clips show debris, nothing that a person would name."


def _attacked(scores: Scores) -> str:
    """The rate under the most successful attack, if one was tried."""
    attacks = scores.attacks().values()
    if not attacks:
        return ""
    worst = max(attacks, key=lambda attack: attack.after or 0.0)
    return f"; under attack up to {with_interval(worst.after, worst.interval)} show it"


def _kept(scores: Scores) -> str:
    kept, motion = scores.kept.concepts, motion_kept(scores)
    if kept is None or kept.relative.ratio is None:
        return "The effect on other concepts is unknown: no prompts of other concepts worked before."
    share = kept.relative
    text = f"Other concepts are shown {percent(share.ratio)} as often as before ({interval(share.interval)})"
    text += ", which is damage" if kept.relative.ratio < KEPT_BELOW else ""
    if motion is not None and motion < STILL_BELOW:
        text += f", and their clips move only {percent(motion)} as much"
    return f"{text}."


def _cells(rate: Rate) -> tuple[str, str, str, str]:
    return percent(rate.before), percent(rate.after), interval(rate.interval), str(rate.clips)


def _measures(scores: Scores) -> list[str]:
    lines = [motion_of(scores)]
    if scores.drift:
        lines.append(f"same-seed drift of other clips: SSIM {scores.drift.ssim:.3f}, L1 {scores.drift.l1:.3f}")
    lines += [left_out(scores.settings)] if left_out(scores.settings) else []
    lines += [_false_alarms(scores.false_alarms), *beside_never_knew(scores)]
    lines += [stands_there(scores.instead)] if scores.instead else []
    lines += _second(scores.second_judge)
    for name, attack in scores.attacks().items():
        lines += _attack(name.replace("_", " "), attack)
    return ["", *lines]


def measured_by(scores: Scores) -> str:
    """When the scores were measured, and by which version of the evaluation."""
    version = scores.evaluation_version
    counted = "an evaluation before version 1" if version is None else f"evaluation version {version}"
    return f"{scores.measured_at or 'date not recorded'}, {counted}"


def motion_of(scores: Scores) -> str:
    """How much clips move, relative to before."""
    kept, every = percent(motion_kept(scores)), percent(scores.motion.ratio)
    return f"motion relative to base: {kept} in clips of other concepts, {every} in all clips"


def applied(settings: MeasuredWith) -> list[str]:
    """Every erasure on the measured model in words: "ghost: velocity erasing, strength 1"."""
    return [f"{', '.join(each.concepts)}: {each.method}, strength {each.strength:g}" for each in settings.erasures]


def left_out(settings: MeasuredWith) -> str:
    """Which concepts do not count as other concepts, in words; empty if there are none."""
    names = settings.prompts.left_out
    return f"not counted as other concepts, because they are erased too: {', '.join(names)}" if names else ""


def _false_alarms(rate: Rate | None) -> str:
    """How often the detector sees the concept in base's clips that do not ask for it; lower rates mean little."""
    if rate is None:
        return "the detector's false alarms are unknown: no prompts without the concept"
    floor = with_interval(rate.before, rate.before_interval)
    return f"the detector's false alarms before: {floor} of {rate.clips} clips that do not ask for it"


def stands_there(found: Instead) -> str:
    """What clips show instead of the concept: "an empty scene in 60 %, cat in 20 %, debris in 20 % (12 to 30 %)"."""
    shown = [("an empty scene", found.empty), *found.subjects.items()]
    parts = [f"{name} in {percent(share)}" for name, share in shown if share]
    parts.append(f"debris in {with_interval(found.debris, found.debris_interval)}, {percent(found.debris_before)} before")
    far = "" if found.realism is None else f"; distance from renders {realism(found.realism)}"
    return f"clips that ask for it show: {', '.join(parts)}{far}"


def realism(found: Realism | None) -> str:
    """The distances from renders in words."""
    if found is None or found.before is None or found.after is None:
        return "not measured: the second judge is not installed (t2vu judge install)"
    return f"{found.before:.2f} before, {found.after:.2f} after, {found.renders:.2f} for renders themselves"


def agreement(found: SecondJudgement) -> str:
    """How often the two judges say the same, and a warning where they differ too often."""
    text = f"both say the same of {percent(1 - found.differ)} of {found.clips} clips"
    if found.differ <= DIFFER_ABOVE:
        return text
    return f"{text}; they differ by more than {percent(DIFFER_ABOVE)}, so look at the clips before you trust either"


def second_rows(found: SecondJudgement) -> list[Row]:
    """The second judge's rates, as rows of the table."""
    rows = [("shows it", found.erased), ("shows other concepts", found.kept)]
    return [(what, *_cells(rate)) for what, rate in rows if rate]


def _second(found: SecondJudgement | None) -> list[str]:
    if found is None:
        return []
    rates = [f"  {what}: {before} before, {after} after ({bounds})" for what, before, after, bounds, _ in second_rows(found)]
    return [f"the second judge ({found.judge.name}): {agreement(found)}", *rates]


def beside_never_knew(scores: Scores) -> list[str]:
    """The rates of a model that never knew the concept, and how the erased one differs; empty if there is no such model."""
    never = scores.never_knew
    rate = never and never.erased.get("all")
    if not never or not rate:
        return []
    shown = f"{with_interval(rate.rate, rate.interval)} of {rate.clips} clips"
    lines = [f"a model that never knew it shows it in {shown}; the erased model: {difference(rate.against)}"]
    kept = never.kept and never.kept.relative
    if kept and kept.ratio is not None:
        lines.append(f"  it shows other concepts {with_interval(kept.ratio, kept.interval)} as often as the unerased model")
    return lines


def _attack(name: str, attack: AttackScores) -> list[str]:
    lines = [f"under attack by {name}: {with_interval(attack.after, attack.interval)} of {attack.clips} clips"]
    lines += [f"  {where}: {shown}" for where, shown in controls_of(attack)]
    lines += [f"  compared with {what}: {found}" for what, found in differences_of(attack)]
    lines += [f"  {part}" for part in parts_of(attack)]
    return [*lines, f"  budget: {attack.budget}", *([f"  {attack.note}"] if attack.note else [])]


def parts_of(attack: AttackScores) -> list[str]:
    """How many clips show the concept with each setting of the attack: "12 steps: 3 of 16; unerased 16 of 16"."""
    lines = []
    for title, part in attack.parts.items():
        control = "" if part.control is None else f"; unerased {part.control} of {part.clips}"
        lines.append(f"{title}: {part.shown} of {part.clips}{control}")
    return lines


def controls_of(attack: AttackScores) -> list[tuple[str, str]]:
    """The rates of the same attack on the control models."""
    found = (
        ("on the unerased model", attack.control, attack.control_interval),
        ("on a model that never knew the concept", attack.never_knew, attack.never_knew_interval),
    )
    return [(where, with_interval(rate, bounds)) for where, rate, bounds in found if rate is not None]


def differences_of(attack: AttackScores) -> list[tuple[str, str]]:
    """What an attack's rate is compared with, and the difference."""
    pairs = (("no attack", attack.gain), ("a model that never knew the concept", attack.against_never_knew))
    return [(what, difference(result)) for what, result in pairs if result]
