"""What of the sandbox a command does without, said at every start."""

from plughost.config import Sandbox

from .output import Output

__all__ = ["warn_of_waived"]


def warn_of_waived(output: Output, sandbox: Sandbox) -> None:
    """A warning if the sandbox is not all of it."""
    if waived := sandbox.waived:
        output.warning(
            f"the sandbox is without {', '.join(waived)}: a plugin can do more than it is "
            "granted; plughost doctor shows what each layer is good for"
        )
