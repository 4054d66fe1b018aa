"""A training as its node shows it."""

from t2vu_core.training.progress import TrainProgress

from . import comfy_bridge


class TrainingView:
    """A callback that says and reports every step under the node, and keeps the losses for their picture."""

    def __init__(self, node_id: str | None) -> None:
        self.progress = comfy_bridge.Progress(node_id)
        self.losses: list[float] = []

    def __call__(self, done: TrainProgress) -> None:
        if done.loss is not None:
            self.losses.append(done.loss)
        loss = "" if done.loss is None else f", loss {done.loss:.4f}"
        self.progress.say(f"{done.stage} {done.step}/{done.total}{loss}")
        self.progress.report(done.step, done.total, done.preview)
