"""What can be wrong with a data set, each by its own name."""


class DatasetError(ValueError):
    """A data set cannot be written or read as asked."""


class UnfinishedDataset(DatasetError):
    """Its writer was stopped before the end; what was committed is there and can be continued."""


class DamagedDataset(DatasetError):
    """Bytes on the disk are not those that were written."""


class NewerFormat(DatasetError):
    """The file was written by a later meanforce than this one."""


class ReadingError(ValueError):
    """A file of the user's cannot be read as asked."""


class TruncatedFile(ReadingError):
    """The file ends in the middle of a frame."""


class MissingLabel(ReadingError):
    """A label that is wanted (forces, energy) is not in the file."""


class BrokenFrame(ReadingError):
    """A frame holds a value that is not finite."""


class SuspectUnits(ReadingError):
    """Distances cannot be those of atoms: the file is in other units than it was read in."""


class UnmatchedEnergies(ReadingError):
    """Energies and frames do not belong to the same times."""


class MappingError(ValueError):
    """Atoms cannot be mapped to beads as asked."""


class IllegalForceMap(MappingError):
    """Mapped forces would not average to the mean force."""
