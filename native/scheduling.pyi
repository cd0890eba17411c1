"""What the kernel's scheduler is asked for: a short slice, so that a waking thread goes before one that computes."""

def request_slice(nanoseconds: int) -> bool:
    """Ask for a time slice of 100 000 to 100 000 000 ns for the calling thread, its policy and nice value unchanged.
    Threads and processes that it starts afterwards have the usual one.

    A thread with a short slice preempts one with a longer one when it wakes (EEVDF, Linux 6.12 and later). False where
    the kernel does not know how; nothing is changed then.
    """
