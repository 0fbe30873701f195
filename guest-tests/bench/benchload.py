# SPDX-License-Identifier: Apache-2.0
"""What else ran on this machine since this process began: the foreign load of a benchmark."""
import os
import time


def busy():
    """CPU seconds: (all that this machine did or could not do, ours with what we started and that
    ended)."""
    with open("/proc/stat", encoding="ascii") as f:
        words = f.readline().split()[1:9]
    ticks = sum(int(word) for i, word in enumerate(words) if i not in (3, 4))  # idle, iowait
    return ticks / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


_BEGAN, _BUSY = time.monotonic(), busy()


def share():
    """The part of all CPU time since the start that was others', 0 to 1."""
    now = busy()
    foreign = (now[0] - _BUSY[0]) - (now[1] - _BUSY[1])
    return min(1, max(0, foreign / max(time.monotonic() - _BEGAN, 0.01) / os.cpu_count()))
