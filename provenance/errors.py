"""Everything that Firsthand raises on purpose.

FirsthandError
├── UsageError        what was asked for is wrong: a recipe, a policy, a job file
├── DecodeError       these bytes are not a picture that can be read
├── MissingError      a model, a library or a file of theirs is not there
└── CheckError        the check cannot run or cannot be trusted: no picture is shown
    └── VersionMismatch   two values were made by different descriptors or versions
"""


class FirsthandError(Exception):
    """The base: its message says what was given and what would be right."""


class UsageError(FirsthandError):
    pass


class DecodeError(FirsthandError):
    pass


class MissingError(FirsthandError):
    pass


class CheckError(FirsthandError):
    pass


class VersionMismatch(CheckError):
    pass
