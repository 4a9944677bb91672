"""The chosen plan as Locust's load shape. It runs in the master, or in the only process, and tells all the stage."""

from dataclasses import dataclass, field
from typing import Final

from locust import LoadTestShape
from locust.env import Environment

from kmsgw.clock import SYSTEM_CLOCK
from loadtests import options
from loadtests.plan import SETTLING, Plan
from loadtests.results import StageRun

STAGE_MESSAGE: Final = "kmsgw_stage"
_STARTS_PER_SECOND: Final = 100
_LONGEST_START: Final = 60.0


@dataclass(slots=True)
class Course:
    """A plan on its way: when it began, and when which stage was measured. Moments are of the monotonic clock."""

    plan: Plan
    settings: options.Options
    began: float
    waiting: bool = True
    current: int = SETTLING
    since: float = 0.0
    runs: dict[int, StageRun] = field(default_factory=dict)

    def enter(self, stage: int, now: float) -> bool:
        """Note that a stage has begun; return whether it is another than before."""
        if stage == self.current:
            return False
        if self.current != SETTLING:
            level = self.plan.stages[self.current].level
            self.runs[self.current] = StageRun(level, self.since - self.began, now - self.since)
        self.current, self.since = stage, now
        return True


class KmsgwShape(LoadTestShape):
    """Constant, step, spike or soak, as the options say."""

    use_common_options = True  # users and run time of the command line and of the page count where levels are left open

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._course: Course | None = None

    def tick(self) -> tuple[int, float] | None:
        """Return how many users there shall be now, None after the end."""
        assert self.runner is not None, "Locust sets it before it starts"
        now = SYSTEM_CLOCK.monotonic()
        course = self._course or self._begin(self.runner.environment, now)
        if course.waiting:
            users = course.settings.users(course.plan.stages[0].level)
            # Their start is no part of the plan, unless some never start.
            if self.runner.user_count < users and now - course.began < _LONGEST_START:
                return users, _rate(users)
            course.waiting, course.began = False, now
        position = course.plan.at(now - course.began)
        if position is None:
            self.end()
            # Locust would only quit, which ends the run in the master before the workers have sent their last figures.
            self.runner.stop()
            return None
        self._tell(course, position.number if position.settled else SETTLING)
        users = course.settings.users(position.stage.level)
        return users, _rate(users)

    def end(self) -> None:
        """Measure no more. The course so far stays, for the report."""
        if self._course is not None:
            self._tell(self._course, SETTLING)
            self._course.waiting = True

    def take(self) -> Course | None:
        """Return the course that has ended; the next run makes another."""
        course, self._course = self._course, None
        return course

    def _begin(self, environment: Environment, now: float) -> Course:
        given = environment.parsed_options
        assert given is not None, "Locust runs with a command line"
        settings = options.read(vars(given))
        plan = settings.plan(int(given.num_users or 1), float(given.run_time) if given.run_time else None)
        self._course = Course(plan, settings, now)
        return self._course

    def _tell(self, course: Course, stage: int) -> None:
        if course.enter(stage, SYSTEM_CLOCK.monotonic()):
            assert self.runner is not None, "Locust sets it before it starts"
            self.runner.send_message(STAGE_MESSAGE, {"stage": stage})


def _rate(users: int) -> float:
    """Return how many users to start a second, so that they start at once."""
    return float(max(users, _STARTS_PER_SECOND))
