"""A refinement whose course a test writes, in place of one that computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

ROW = SimpleNamespace(
    segmentId="a",
    resultSegmentId="a_refined",
    modelNodeId="",
    name="liver",
    organ="liver",
    volumeBeforeMl=1500.0,
    volumeAfterMl=1550.04,
    largestMoveMm=31.26,
    meanMoveMm=1.234,
    dscToInput=0.97651,
    plausibility="as in training",
    isPlausible=True,
    licence="CC-BY-4.0",
    nonCommercial=False,
    device="cpu",
    deviceReason="no GPU",
    state="pending",
    image="",
)


@dataclass
class Status:
    """As the task's status."""

    state: str = "running"
    stage: str = "fit"
    fraction: float = 0.0
    secondsLeft: float | None = None
    message: str = ""

    @property
    def isFinished(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


@dataclass
class ScriptedTask:
    """One status a poll, then calls are recorded."""

    course: list = field(default_factory=list)
    rows: list = field(default_factory=lambda: [SimpleNamespace(**vars(ROW))])
    startError: str = ""
    reviewError: str = ""
    notices: tuple = ()
    log: str = "what the engine wrote"
    calls: list = field(default_factory=list)
    status: Status = field(default_factory=Status)
    changes: list = field(
        default_factory=lambda: [SimpleNamespace(segmentId="a", positionRas=(1.0, 2.0, 3.0), changeMm=-8.25)]
    )

    def start(self):
        from ReShapeITSlicer.errors import RefinementError

        if self.startError:
            raise RefinementError(self.startError)

    def poll(self):
        self.status = self.course.pop(0) if self.course else self.status
        return self.status

    def cancel(self):
        self.status = Status("cancelled", message="Cancelled; the scene is as it was.")

    def summary(self):
        return self.rows

    def nextLargestChange(self):
        return self.changes[0] if self.changes else None

    def __getattr__(self, name):
        def recorded(*arguments):
            from ReShapeITSlicer.errors import RefinementError

            if self.reviewError:
                raise RefinementError(self.reviewError)
            self.calls.append((name, *arguments))
            if name in ("accept", "reject"):
                self.rows[0].state = {"accept": "accepted", "reject": "rejected"}[name]

        if name in ("accept", "reject", "blend", "setOpacity", "undo", "endReview", "close"):
            return recorded
        raise AttributeError(name)


def done_task(**options) -> ScriptedTask:
    """A task that succeeds."""
    return ScriptedTask(course=[Status(fraction=0.5), Status("done", fraction=1.0)], **options)
