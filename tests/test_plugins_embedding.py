"""The example application, run as a reader would run it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

APP = Path(__file__).parent.parent / "examples" / "embedding" / "app.py"
_RUN_TIMEOUT = 50.0  # a run takes 4 seconds; pytest gives a test 60


@pytest.fixture(scope="module")
def transcript() -> str:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(APP)],
        capture_output=True,
        text=True,
        timeout=_RUN_TIMEOUT,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    return run.stdout


@pytest.mark.parametrize(
    ("plugin", "error", "reason"),
    [
        ("crashes", "WorkerDied", "cause signalled"),
        ("hangs", "CallTimeout", "in misbehave"),
        ("leaks", "WorkerDied", "cause memory"),
    ],
)
def test_the_example_shows_the_error_and_the_plugin_after_its_restart(
    transcript: str, plugin: str, error: str, reason: str
) -> None:
    (act,) = [part for part in transcript.split("\n\n") if part.strip().startswith(f"{plugin}.")]
    before, after = re.findall(r"active in process (\d+)", act)

    assert f"   {error}: " in act
    assert reason in act
    assert f"{plugin}.greet says 'hello'" in act
    assert before != after
    assert "restarts: 1;" in act


def test_the_example_shows_that_steady_answered_all_along(transcript: str) -> None:
    answered = [int(number) for number in re.findall(r"steady answered (\d+) calls", transcript)]

    assert len(answered) == 3
    assert min(answered) > 0
    assert "restarts of steady: 0" in transcript
