"""Scores in words: two sentences for people, and a table for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

REGISTER_TITLES = {
    "terse": "short prompts",
    "synonym": "other names",
    "refined": "long, refined prompts",
    "two_subject": "two subjects",
    "all": "all of them",
}
# Above these a part of the verdict turns from good to bad.
GONE_ABOVE = 0.10
KEPT_BELOW = 0.85
STILL_BELOW = 0.6
# Under attack fewer clips are made: the quick preset's 32, none of which shows the concept, leave up to 11 %.
BACK_ABOVE = 0.12
# What attacks do to an erasure, the worst first.
ATTACK_OUTCOMES = (
    "It can be brought back",
    "Under attack it is there",
    "Too few clips to tell what attacks do",
    "Attacks do not bring it back",
)


def sentences(scores: Mapping[str, Any]) -> str:
    """The verdict in two sentences: what is gone, and what else changed."""
    return f"{_gone(scores)} {_kept(scores)}"


def spoken(scores: Mapping[str, Any] | None) -> str:
    """The scores that an erasure file carries, in words; those of another program as they stand."""
    if scores is None:
        return "not measured"
    try:
        return sentences(scores)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return json.dumps(dict(scores))


def table(scores: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Rows (what, before, after, 95 % interval of after, clips) of all rates that were counted."""
    erased, kept = scores["erased"], scores["kept"]
    rows = [(f"shows it, {title}", erased[name]) for name, title in REGISTER_TITLES.items()]
    rows += [("other concepts shown", kept["concepts"]), ("the other subject of two", kept["other_subject"])]
    rows += [("shows it, not asked for", scores["false_alarms"])]
    rows += [(f"{name} as asked", rate) for name, rate in kept["attributes"].items()]
    return [(what, *_cells(rate)) for what, rate in rows if rate]


def text_table(scores: Mapping[str, Any]) -> str:
    """The verdict and the table as plain text."""
    rows = [("", "before", "after", "95 % interval", "clips"), *table(scores)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([sentences(scores), "", *lines, *_measures(scores)])


def percent(share: float | None) -> str:
    """0.053 -> "5 %"; "-" where nothing was measured."""
    return "-" if share is None else f"{100 * share:.0f} %"


def interval(bounds: Any) -> str:
    """(0.02, 0.13) -> "2 to 13 %"."""
    return "-" if bounds is None else f"{100 * bounds[0]:.0f} to {100 * bounds[1]:.0f} %"


def with_interval(share: float | None, bounds: Any) -> str:
    """0.5 and (0.1, 0.9) -> "50 % (10 to 90 %)"."""
    return percent(share) if bounds is None else f"{percent(share)} ({interval(bounds)})"


def difference(result: Mapping[str, Any], of: str = "") -> str:
    """What `statistics.compare` found: "+3 points (-1 to +9), which is no clear difference"."""
    low, high = result["interval"]
    verdict = "is a difference" if result["is_one"] else "is no clear difference"
    return f"{100 * result['difference']:+.0f} points{of} ({100 * low:+.0f} to {100 * high:+.0f}), which {verdict}"


def _gone(scores: Mapping[str, Any]) -> str:
    rate, concept = scores["erased"]["all"], scores["concept"]
    if rate is None:
        return f"Nothing was asked about {concept!r}."
    count = rate["clips"]
    seen, was = round(rate["after"] * count), round(rate["before"] * count)
    return (
        f"{_word(rate)}: {concept!r} is in {seen} of {count} clips that ask for it ({percent(rate['after'])}, "
        f"95 % interval {interval(rate['interval'])}); before it was in {was} ({percent(rate['before'])}){_attacked(scores)}."
    )


def _attacked(scores: Mapping[str, Any]) -> str:
    """What the strongest attack brings back, where one was tried."""
    tried = [attack for attack in scores.get("comes_back", {}).values() if attack]
    if not tried:
        return ""
    worst = max(tried, key=lambda attack: attack["after"])
    return f"; under attack it is in up to {with_interval(worst['after'], worst['interval'])}"


def under_attack(scores: Mapping[str, Any]) -> str | None:
    """What the attacks did, by the one that did most; None where none was tried, or the concept is not erased anyway."""
    rate = scores["erased"]["all"]
    tried = [attack for attack in scores.get("comes_back", {}).values() if attack]
    if not tried or rate is None or _word(rate) in ("Not erased", "Nothing to erase"):
        return None
    outcomes = {_outcome(attack) for attack in tried}
    return next(outcome for outcome in ATTACK_OUTCOMES if outcome in outcomes)


def _outcome(attack: Mapping[str, Any]) -> str:
    """Where a model that never knew it stands beside, as much as that one shows under the same attack is nothing."""
    brought_back, there, unclear, gone = ATTACK_OUTCOMES
    low, high = attack["interval"]
    never_knew = attack.get("against_never_knew")
    as_if_never_learned = never_knew and not _rises(never_knew) and never_knew["difference"] <= BACK_ABOVE
    if high <= BACK_ABOVE or as_if_never_learned:
        return gone
    if all(_rises(result) for result in (attack["gain"], never_knew) if result):
        return brought_back
    return there if low > BACK_ABOVE else unclear


def _rises(result: Mapping[str, Any]) -> bool:
    """Whether what `statistics.compare` found is a difference upwards."""
    return bool(result["is_one"]) and result["difference"] > 0


def _word(rate: Mapping[str, Any]) -> str:
    """What became of the concept; where it halved and yet may be chance, the clips are what is missing."""
    if rate["before"] == 0:
        return "Nothing to erase"
    if rate["p_of_no_change"] > 0.05 or rate["after"] >= rate["before"]:
        return "Too few clips to tell" if rate["after"] <= 0.5 * rate["before"] else "Not erased"
    if rate["interval"][1] <= GONE_ABOVE:
        return "Erased"
    return "Mostly erased" if rate["after"] <= 0.2 * rate["before"] else "Partly erased"


def _kept(scores: Mapping[str, Any]) -> str:
    kept, motion = scores["kept"]["concepts"], motion_kept(scores)
    if kept is None or kept["relative"]["ratio"] is None:
        return "What else changed is not known: no prompts of other concepts worked."
    share = kept["relative"]
    text = f"Other concepts are shown {percent(share['ratio'])} as often as before ({interval(share['interval'])})"
    text += ", which is damage" if share["ratio"] < KEPT_BELOW else ""
    if motion is not None and motion < STILL_BELOW:
        text += f", and the clips move only {percent(motion)} as much"
    return f"{text}."


def motion_kept(scores: Mapping[str, Any]) -> float | None:
    """How much clips of other concepts move against base's; of all clips where none of others were made."""
    kept: float | None = scores["motion"].get("kept", {}).get("ratio")
    return scores["motion"]["ratio"] if kept is None else kept


def _cells(rate: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return percent(rate["before"]), percent(rate["after"]), interval(rate["interval"]), str(rate["clips"])


def _measures(scores: Mapping[str, Any]) -> list[str]:
    lines = [
        f"motion of other clips against base: {percent(motion_kept(scores))}; of all: {percent(scores['motion']['ratio'])}"
    ]
    if scores["drift"]:
        lines.append(f"same-seed drift of other clips: SSIM {scores['drift']['ssim']:.3f}, L1 {scores['drift']['l1']:.3f}")
    lines += [left_out(scores["settings"])] if left_out(scores.get("settings", {})) else []
    lines += _false_alarms(scores) + _never_knew(scores)
    for name, attack in scores["comes_back"].items():
        lines += _attack(name.replace("_", " "), attack) if attack else []
    return ["", *lines]


def left_out(settings: Mapping[str, Any]) -> str:
    """Whose prompts do not count among the others, in words; empty where none were left out."""
    names = settings.get("prompts", {}).get("left_out")
    return f"left out of the other concepts, since they are to be gone: {', '.join(names)}" if names else ""


def _false_alarms(scores: Mapping[str, Any]) -> list[str]:
    """How often the detector sees the concept in base's clips that do not ask for it: below that no rate means much."""
    rate = scores["false_alarms"]
    if rate is None:
        return ["the detector's false alarms are not known: no prompts without the concept"]
    floor = f"{with_interval(rate['before'], rate['before_interval'])} of {rate['clips']}"
    return [f"the detector's false alarms before: {floor} clips that do not ask for it"]


def _never_knew(scores: Mapping[str, Any]) -> list[str]:
    never = scores.get("never_knew")
    if not never or not never["erased"]["all"]:
        return []
    rate = never["erased"]["all"]
    shown = f"{with_interval(rate['rate'], rate['interval'])} of {rate['clips']} clips"
    lines = [f"a model that never knew it shows it in {shown}; this one {difference(rate['against'])}"]
    kept = never["kept"] and never["kept"]["relative"]
    if kept and kept["ratio"] is not None:
        lines.append(f"  and it shows other concepts {with_interval(kept['ratio'], kept['interval'])} as often as the unerased")
    return lines


def _attack(name: str, attack: Mapping[str, Any]) -> list[str]:
    lines = [f"comes back by {name}: {with_interval(attack['after'], attack['interval'])} of {attack['clips']} clips"]
    lines += [f"  {where}: {shown}" for where, shown in controls_of(attack)]
    lines += [f"  against {what} {found}" for what, found in differences_of(attack)]
    return [*lines, f"  budget: {attack['budget']}"]


def controls_of(attack: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where else the same attack was made, and what it brought there."""
    places = (("on the unerased model", "control"), ("on a model that never knew the concept", "never_knew"))
    found = ((where, attack.get(key), attack.get(f"{key}_interval")) for where, key in places)
    return [(where, with_interval(rate, bounds)) for where, rate, bounds in found if rate is not None]


def differences_of(attack: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an attack's rate is compared with, and whether the difference is one."""
    pairs = (("no attack", "gain"), ("a model that never knew the concept", "against_never_knew"))
    return [(what, difference(attack[key])) for what, key in pairs if attack.get(key)]
