"""What of the sandbox a command does without, said at every start."""

from collections.abc import Iterable

from plughost.config import Layer, Sandbox

from .output import Output

__all__ = ["waive"]


def waive(output: Output, without: Iterable[Layer], *, require_cgroup: bool = False) -> Sandbox:
    """The sandbox that is left, with a warning if it is not all of it."""
    sandbox = Sandbox(frozenset(without), require_cgroup)
    if waived := sandbox.waived:
        output.warning(
            f"the sandbox is without {', '.join(waived)}: a plugin can do more than it is "
            "granted; plughost doctor shows what each layer is good for"
        )
    return sandbox
