# cython: language_level=3
"""What the kernel's scheduler is asked for: a short slice, so that a waking thread goes before one that computes."""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)

cdef extern from "<sys/syscall.h>" nogil:
    long SYS_sched_setattr
    long SYS_sched_getattr

cdef uint64_t RESET_ON_FORK = 1  # SCHED_FLAG_RESET_ON_FORK

cdef struct sched_attr:
    uint32_t size
    uint32_t sched_policy
    uint64_t sched_flags
    int32_t sched_nice
    uint32_t sched_priority
    uint64_t sched_runtime
    uint64_t sched_deadline
    uint64_t sched_period


def request_slice(uint64_t nanoseconds):
    cdef sched_attr attr
    memset(&attr, 0, sizeof(attr))
    if syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) != 0:
        return False
    attr.size = sizeof(attr)
    attr.sched_runtime = nanoseconds
    attr.sched_flags |= RESET_ON_FORK
    return syscall(SYS_sched_setattr, 0, &attr, 0) == 0
