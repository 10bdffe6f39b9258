"""Groups of processes that the kernel holds to their memory, CPU and number (cgroups)."""

from .group import Cgroup, CgroupError
from .tenancy import Tenancy
from .tree import CgroupTree, NoCgroup

__all__ = ["Cgroup", "CgroupError", "CgroupTree", "NoCgroup", "Tenancy"]
