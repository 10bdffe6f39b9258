"""Has an interpreter of its own try the layers of a plan on this machine."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import structs

from plughost.config import Layer, Limits, Sandbox
from plughost.errors import PlughostError
from plughost_protocol import encode
from plughost_protocol.confinement import LandlockRules
from plughost_protocol.probing import Finding, ProbeRequest, decode_findings

from .interpreter import Interpreter
from .machine import Machine
from .plan import Access, PlanRefused, make_plan, prepare_data_folder, template_confinement
from .seccomp import UnsupportedMachine

__all__ = ["TOGETHER", "try_layers"]

TOGETHER: Final = "together"
"""The finding on all layers at once, as a worker has them."""

_TIMEOUT: Final = 120.0  # seconds; each of a dozen probes ends by itself within ten
_FIRST_RIGHTS: Final = (1 << 13) - 1  # of Landlock's first version


def try_layers(
    without: frozenset[Layer], python: Interpreter, machine: Machine
) -> Mapping[str, Finding]:
    """What this machine makes of each layer, by name, and of all `TOGETHER`.

    Those in `without` are not tried. Takes 0.2 s. Raises `PlughostError` if nothing can be tried.
    """
    findings: dict[str, Finding] = {}
    with _folders() as (root, data):
        request = _request(without, findings, root, data, python, machine)
        while request is None:  # the plan itself refused one more layer
            waived = without | {Layer(name) for name in findings}
            request = _request(waived, findings, root, data, python, machine)
        for found in _ask(request, python):
            findings.setdefault(found.probe, found)
    return findings


@contextmanager
def _folders() -> Iterator[tuple[Path, Path]]:
    """A plugin's folder and its data folder, empty."""
    with tempfile.TemporaryDirectory(prefix="plughost-doctor-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # a worker may have another user id
        (folder / "plugin").mkdir(mode=0o755)
        yield folder / "plugin", folder / "data"


def _request(
    without: frozenset[Layer],
    findings: dict[str, Finding],
    root: Path,
    data: Path,
    python: Interpreter,
    machine: Machine,
) -> ProbeRequest | None:
    # Where the kernel has no Landlock, it says itself why: its layer is tried in any case.
    forced = not machine.landlock.abi and Layer.LANDLOCK not in without
    sandbox = Sandbox(without | {Layer.LANDLOCK} if forced else without)
    try:
        plan = make_plan("doctor", root, data, Access(), Limits(), sandbox, python, machine)
        prepare_data_folder(plan)
        template = template_confinement(sandbox, machine)
        worker = plan.confinement()
    except (PlanRefused, UnsupportedMachine) as exc:
        layer, reason = Layer.SECCOMP, str(exc)
        if isinstance(exc, PlanRefused):
            if exc.layer is None or exc.layer in without:
                raise
            layer, reason = exc.layer, exc.reason
        findings[layer] = Finding(layer, ok=False, action=reason, layer=layer)
        return None
    if forced:
        worker = structs.replace(worker, landlock=LandlockRules(_FIRST_RIGHTS, 0, 0, [], []))
    return ProbeRequest(template, worker, plan.working_folder)


def _ask(request: ProbeRequest, python: Interpreter) -> list[Finding]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as result:
        try:
            process = python.start(
                "probe", "probe", writing, encode(request), stderr=subprocess.PIPE
            )
        finally:
            os.close(writing)
        with process:
            try:
                _, errors = process.communicate(timeout=_TIMEOUT)
            except BaseException:
                process.kill()
                raise
        data = result.read()
    try:
        return decode_findings(data)
    except msgspec.DecodeError as exc:
        words = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise PlughostError(
            f"the probe ended with code {process.returncode} and found nothing: "
            f"{''.join(words) or 'it said nothing'}"
        ) from exc
