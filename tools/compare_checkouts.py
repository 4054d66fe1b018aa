"""Compares what two checkouts compute: erasers, encoders, clips and scores must be equal bit for bit.

    python -m tools.compare_checkouts --before HEAD~3                     # that revision and this working tree
    python -m tools.compare_checkouts --before REVISION --keep outputs    # and keep the outputs of the revision
    python -m tools.compare_checkouts --before outputs                    # later: run only this working tree

Every checkout runs in fresh processes on the CPU (`checkout_outputs`, `checkout_graphs`), with the same seed and number of
threads. The later one also opens the files, resumes the training run and queues the graphs of the earlier one. Exit code 0:
all equal; 1: something differs; 2: the comparison could not be made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.checkout_differences import Row, compare
from tools.say import say

REPOSITORY = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("checkout_outputs.py")
ABOUT = "about.json"
MACHINE = """
import importlib.metadata, platform
libraries = "torch", "diffusers", "transformers"
print(platform.machine(), *(f"{name} {importlib.metadata.version(name)}" for name in libraries))
"""
"""Prints what else decides the last bits of a result."""


class CannotCompare(Exception):
    """The comparison cannot be made; says why and what to do."""


@dataclass(frozen=True)
class Terms:
    """What both checkouts have in common; the outputs of one name the terms they were made on."""

    python: str
    threads: int = 1
    seed: int = 0
    quick: bool = False

    def environment(self, *paths: Path) -> dict[str, str]:
        """No network, no GPU, and these folders before the installed packages."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self.threads))
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        return {**os.environ, **threads, **offline, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    def describe(self) -> dict[str, object]:
        """As JSON, with the versions of the libraries, which must be the same for both."""
        machine = subprocess.run([self.python, "-c", MACHINE], capture_output=True, text=True, check=True).stdout.strip()
        return {key: value for key, value in asdict(self).items() if key != "python"} | {"machine": machine}


def produce(checkout: Path, out: Path, terms: Terms, old: Path | None = None) -> None:
    """Everything that a checkout computes, into the empty folder `out`; `old` are the outputs whose files it opens."""
    if not (checkout / "t2vu_core" / "__init__.py").is_file():
        raise CannotCompare(f"{checkout} is not a checkout: it has no t2vu_core.")
    if out.exists() and any(out.iterdir()):
        raise CannotCompare(f"{out} is not empty: name another folder, or remove it.")
    say(f"outputs of {checkout}")
    out.mkdir(parents=True, exist_ok=True)
    options = ["--seed", str(terms.seed)]
    worker = [*options, *(["--quick"] if terms.quick else []), *(["--old", str(old)] if old else [])]
    # -P: not the worker's own folder, but PYTHONPATH comes first.
    _run([terms.python, "-P", str(WORKER), str(checkout), str(out), *worker], terms.environment(checkout))
    if not terms.quick:
        stored = old or out
        if not old:
            shutil.copytree((checkout / "workflows" / "api"), out / "stored_graphs")
        core = out / "scratch" / "core"
        core.mkdir(parents=True)
        (core / "t2vu_core").symlink_to(checkout / "t2vu_core", target_is_directory=True)
        graphs = [str(checkout), str(stored / "stored_graphs"), str(out), *options]
        _run([terms.python, "-m", "tools.checkout_graphs", *graphs], terms.environment(core))
    shutil.rmtree(out / "scratch")
    (out / ABOUT).write_text(json.dumps(terms.describe(), indent=1), encoding="utf-8")


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    """A process that must succeed; its progress bars are shown only when it fails."""
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode:
        raise CannotCompare(f"{' '.join(command[1:4])} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def stored_terms(outputs: Path, terms: Terms) -> Terms:
    """The terms on which these outputs were made; CannotCompare where they were made with other libraries."""
    said = json.loads((outputs / ABOUT).read_text("utf-8"))
    same = Terms(terms.python, said["threads"], said["seed"], said["quick"])
    if same.describe() != said:
        raise CannotCompare(
            f"{outputs} was made with {said['machine']}, and here is {same.describe()['machine']}: make it again."
        )
    return same


@contextlib.contextmanager
def checked_out(source: str) -> Iterator[Path]:
    """The folder of a checkout: `source` itself, or a temporary worktree of the git revision that it names."""
    if Path(source).is_dir():
        yield Path(source).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="t2vu-checkout-") as folder:
        tree = Path(folder) / "tree"
        added = _git("worktree", "add", "--detach", str(tree), source)
        if added.returncode:
            raise CannotCompare(f"{source!r} is neither a folder nor a git revision: {added.stderr.strip()}")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True)


def report(rows: Sequence[Row]) -> int:
    """Print a line per output, and the verdict; 1 if anything differs."""
    width = max((len(row.what) for row in rows), default=0)
    different = sum(bool(row.differences) for row in rows)
    verdict = f"{different} of {len(rows)} outputs differ." if different else f"All {len(rows)} outputs are equal."
    say("\n".join([*(f"{row.what:<{width}}  {row}" for row in rows), "", verdict]))
    return int(different > 0)


def compare_checkouts(before: str, after: str, terms: Terms, keep: Path | None) -> list[Row]:
    """Run what has to run; the rows of the table."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="t2vu-outputs-")))
        if (Path(before) / ABOUT).is_file():
            outputs = Path(before).resolve()
            terms = stored_terms(outputs, terms)
        else:
            outputs = keep.resolve() if keep else scratch / "before"
            produce(stack.enter_context(checked_out(before)), outputs, terms)
        produce(stack.enter_context(checked_out(after)), scratch / "after", terms, old=outputs)
        return compare(outputs, scratch / "after")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="a git revision, a checkout's folder, or a folder of kept outputs")
    parser.add_argument("--after", default=str(REPOSITORY), help="a git revision or a folder; the default is this checkout")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the outputs of --before in this new folder")
    parser.add_argument("--only-keep", action="store_true", help="end when the outputs of --before are kept")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs both (default: this one)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; more are slower on models so small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="fewer ways of training, no attacks, and no graphs in ComfyUI")
    options = parser.parse_args(arguments)
    if options.only_keep and not options.keep:
        parser.error("--only-keep needs --keep DIR")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    terms = Terms(options.python, options.threads, options.seed, options.quick)
    try:
        if options.only_keep:
            with checked_out(options.before) as checkout:
                produce(checkout, options.keep.resolve(), terms)
            return 0
        rows = compare_checkouts(options.before, options.after, terms, options.keep)
    except CannotCompare as error:
        print(f"compare_checkouts: {error}", file=sys.stderr)
        return 2
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
