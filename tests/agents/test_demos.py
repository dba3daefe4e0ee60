"""mcp-sd's weather demos, out of its source distribution, run unchanged on our compatibility module.

Not here are `agent_sync_claude`, which needs Claude's CLI, and `agent_sync_langgraph`, whose `draw_chart` does not take
the `body_data` that mcp-sd's own dispatcher gives it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from broker_plane.testing.server import NatsServer
from tests.interop.conftest import cached

from .environment import source_of, their_environment
from .weather import SECRET, serving

ALIAS = Path(__file__).parent / "alias"
SECONDS = 120
full = pytest.mark.full


@pytest.mark.parametrize(
    ("script", "model_sees_bodies"),
    [
        ("run_async", False),
        pytest.param("run_sync", False, marks=full),
        pytest.param("agent_async", False, marks=full),
        pytest.param("agent_sync", True, marks=full),  # as they wrote it: in sync mode without a dispatcher
    ],
)
def test_their_demo_draws_the_chart_of_the_chosen_alerts(
    agents_python: Path, nats_server: NatsServer, tmp_path: Path, script: str, model_sees_bodies: bool
) -> None:
    directory = tmp_path / "weather_agent"
    shutil.copytree(source_of("mcp-sd==0.1.2") / "demos/weather_agent", directory)
    with serving() as service:
        environment = their_environment(nats_server.url, tmp_path, ALIAS) | {
            "OPENAI_API_KEY": "none is needed",
            "OPENAI_BASE_URL": f"{service.url}/v1",
            "MPLCONFIGDIR": str(cached("matplotlib")),
            "PYTHONWARNINGS": "ignore",
        }
        command = [str(agents_python), "-m", "tests.agents.with_weather", str(directory / f"{script}.py"), service.url]
        said = "Get wind alert statistics for California\nquit\n"
        done = subprocess.run(
            command, input=said, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "analyzed=20" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    assert service.asked == ["/alerts/active?area=CA"]
    assert (directory / "weather_alerts_chart.png").read_bytes().startswith(b"\x89PNG")
    assert bool(service.prompts) == script.startswith("agent")
    assert any(SECRET in prompt for prompt in service.prompts) == model_sees_bodies
