"""What somebody has written, and cannot be accepted: configuration and manifests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from plughost_protocol import ErrorCode

from .root import PlughostError

__all__ = ["ConfigError", "InvalidConfig", "ManifestError"]


class ConfigError(PlughostError):
    """Raised when a configuration file has a mistake, or could be somebody else's doing.

    `path` is the file, or the name of an environment variable or an option. `line` and `column`
    count from 1, and are 0 where they are not known. `others` are further mistakes.
    """

    def __init__(
        self,
        path: Path | str,
        problem: str,
        line: int = 0,
        column: int = 0,
        others: "Sequence[ConfigError]" = (),
    ) -> None:
        place = f"{path}:{line}:{column}" if line else str(path)
        super().__init__("\n".join([f"{place}: {problem}", *map(str, others)]))
        self.path = path
        self.problem = problem
        self.line = line
        self.column = column
        self.others = tuple(others)


class InvalidConfig(PlughostError):
    """Raised when new values do not fit a plugin's `config_schema`. No plugin got any.

    `problems` has a sentence for each plugin whose values do not fit.
    """

    code = ErrorCode.INVALID_PARAMS

    def __init__(self, problems: Mapping[str, str]) -> None:
        told = "; ".join(f"plugin {name!r}: {problem}" for name, problem in problems.items())
        super().__init__(f"the configuration does not fit, and nothing was changed: {told}")
        self.problems = dict(problems)


class ManifestError(PlughostError):
    """Raised when a plugin's manifest cannot be accepted. `problems` holds each reason.

    `marks` holds the line and the column of each, from 1; 0 where there is none.
    """

    def __init__(
        self, path: Path, problems: Sequence[str], marks: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.path = path
        self.problems = tuple(problems)
        self.marks = tuple(marks) or ((0, 0),) * len(problems)
        told = [
            f"{problem} (line {line}, column {column})" if line else problem
            for problem, (line, column) in zip(self.problems, self.marks, strict=True)
        ]
        super().__init__(f"{path}: " + "; ".join(told))

    def located(self) -> list[str]:
        """Each problem behind its file, line and column, as compilers write them."""
        return [
            f"{self.path}:{line}:{column}: {problem}" if line else f"{self.path}: {problem}"
            for problem, (line, column) in zip(self.problems, self.marks, strict=True)
        ]
