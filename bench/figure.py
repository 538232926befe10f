"""What a figure of the bench is: work to time, its goal, a floor, and peers that do the same."""

from collections.abc import Callable
from dataclasses import dataclass

# makes the inputs and returns the call that is timed
Work = Callable[[], Callable[[], object]]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another package that does the same work, or a part of it.

    `share` is the part of the figure's work that `work` does; its time counts divided by it.
    `work` refuses a peer whose answer differs from ours. `goal` is how many times faster we
    want to be. `what` says how its work differs from ours.
    """

    package: str
    work: Work
    what: str = ""
    share: float = 1.0
    goal: float | None = None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: milliseconds, and megabytes above the level after import.

    The floor is plain work of the same kind and size that nobody can do without. The ratio to it
    says how good the code is; it stays the same on a faster machine.
    """

    what: str
    work: Work
    floor: tuple[str, Work]
    goal_ms: float | None = None
    goal_mb: float | None = None
    peers: tuple[Peer, ...] = ()
    rounds: int = 40
