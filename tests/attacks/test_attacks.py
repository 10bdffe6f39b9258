"""Every attack is tried for real: against the default plan, and where nothing stops it."""

import os
import stat
import sysconfig
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import anyio
import pytest

from plughost import Host, HostConfig, Layer, Sandbox
from plughost.attacks import ATTACKS, Attack, Control, Group, Outcome, Result, run_attacks
from plughost.attacks.proxy import GRANTED_HOST
from plughost.management.control_server import ControlServer
from plughost.management.listener import listening

pytestmark = pytest.mark.timeout(180)  # each fixture tries all attacks before its first test

_REQUIRED = {Layer.MOUNTS: {Layer.NAMESPACES}}
_ALONE = (Layer.UID, Layer.NAMESPACES, Layer.MOUNTS, Layer.LANDLOCK, Layer.SECCOMP)


def _run(
    attacks: Sequence[Attack], config: HostConfig | None = None, *, control: bool = False
) -> dict[str, Result]:
    async def run() -> list[Result]:
        return await run_attacks(attacks, config, control=control)

    return {result.attack.name: result for result in anyio.run(run)}


@pytest.fixture(scope="module")
def layered() -> dict[str, Result]:
    """What comes of each attack in the default configuration."""
    return _run(ATTACKS)


@pytest.fixture(scope="module")
def unhindered() -> dict[str, Result]:
    """What comes of each where nothing stops it."""
    return _run(ATTACKS, control=True)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_it_is_stopped_in_the_default_configuration(
    attack: Attack, layered: dict[str, Result]
) -> None:
    result = layered[attack.name]
    assert result.outcome in (Outcome.STOPPED, Outcome.NOT_APPLICABLE), result.detail


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_it_gets_through_where_nothing_stops_it(
    attack: Attack, unhindered: dict[str, Result]
) -> None:
    result = unhindered[attack.name]
    if result.outcome is Outcome.NOT_APPLICABLE:
        pytest.skip(result.detail)
    assert result.outcome is Outcome.SUCCEEDED, result.detail


def _others_can_read_the_interpreter() -> bool:
    folder = Path(sysconfig.get_path("stdlib")).resolve()
    shut = [path for path in (folder, *folder.parents) if not path.stat().st_mode & stat.S_IXOTH]
    return os.geteuid() == 0 and not shut


@pytest.mark.parametrize("layer", _ALONE)
def test_a_layer_alone_stops_what_it_is_said_to_stop(layer: Layer) -> None:
    if layer is Layer.UID and not _others_can_read_the_interpreter():
        pytest.skip("only root has other users' ids to give, and they must reach the interpreter")
    kept = {layer, *_REQUIRED.get(layer, set())}
    # A host that grants a name starts no plugin without all of them; bombs take too long.
    attacks = [
        attack
        for attack in ATTACKS
        if layer in attack.stopped_by and attack.group not in (Group.RESOURCES, Group.PROXY)
    ]
    sandbox = Sandbox(without=frozenset(Layer) - kept)
    results = _run(attacks, HostConfig(sandbox=sandbox))
    wrong = {
        name: result.detail
        for name, result in results.items()
        if result.outcome not in (Outcome.STOPPED, Outcome.NOT_APPLICABLE)
    }
    assert wrong == {}


def test_what_is_granted_can_be_reached() -> None:
    result = _run([GRANTED_HOST])[GRANTED_HOST.name]
    assert result.outcome is Outcome.SUCCEEDED, result.detail


def test_a_host_without_layers_is_told_so() -> None:
    attacks = [a for a in ATTACKS if a.name in ("read-public-file", "connect-to-loopback")]
    results = _run(attacks, HostConfig(sandbox=Sandbox(without=frozenset(Layer))))
    assert {result.outcome for result in results.values()} == {Outcome.SUCCEEDED}


def test_there_are_at_least_eighty_attacks_with_names_of_their_own() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names)) >= 80


def test_each_attack_can_be_tried_and_says_what_it_tries() -> None:
    attempts = import_module("plughost.attacks.plugin.attempts")
    for attack in ATTACKS:
        assert attempts.find(attack.name), attack.name
        assert attack.tries
        assert attack.stopped_by
        assert attack.control is Control.BARE or {*attack.stopped_by} & {
            *Layer,
            "limits",
            "watch",
        }, attack.name


@pytest.mark.anyio
async def test_the_management_socket_of_a_running_host_is_out_of_reach(tmp_path: Path) -> None:
    attacks = [attack for attack in ATTACKS if attack.name == "connect-to-management-socket"]
    path = tmp_path / "control.sock"
    outcomes = []
    with listening(path) as listener:
        async with ControlServer.on(listener) as server, Host([], HostConfig()) as host:
            server.serve(host)
            for control in (False, True):
                (result,) = await run_attacks(attacks, control=control, management_socket=path)
                outcomes.append(result.outcome)
            server.stop_accepting()
    assert outcomes == [Outcome.STOPPED, Outcome.SUCCEEDED]
