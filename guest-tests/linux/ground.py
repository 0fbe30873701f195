# SPDX-License-Identifier: Apache-2.0
"""The host nodes that a case works on, so that hosts of any size can serve it."""
import typing


def ids(nodes):
    """Numbers as a list of the kernel's kind: "0,63-64,127"."""
    spans = []
    for node in sorted(nodes):
        if spans and spans[-1][1] == node - 1:
            spans[-1][1] = node
        else:
            spans.append([node, node])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


class Ground(typing.NamedTuple):
    """Four host nodes in rising order, and the largest distance between any two of them."""
    nodes: tuple
    farthest: int

    def far(self):
        """Options of a guest of two nodes that may be as far apart as this, so nothing is refused."""
        return "--distance", f"0-1={self.farthest}"


FOUR = Ground((0, 1, 2, 3), 40)  # a host of four nodes in a line
