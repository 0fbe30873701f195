# SPDX-License-Identifier: Apache-2.0
"""Read a test guest's console: the dump of guest/topology as a dict of path -> list of values."""
import base64
import binascii
import gzip
import re
import zlib


class DumpError(Exception):
    """The console holds no complete dump; the sentence says what is there instead."""


def parse_list(text):
    """The kernel's form of a set ("0-3,8") as a sorted list."""
    out = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        out += range(int(first), int(last or first) + 1)
    return out


def body(text, name):
    """What stands between the markers of the test NAME."""
    text = text.replace("\r", "")
    begin, end = f"### {name} begin\n", f"### {name} end "
    if begin not in text:
        last = "; its last line: " + text.strip().splitlines()[-1] if text.strip() else ""
        raise DumpError("the guest did not start its test" + last)
    inside, mark, after = text.split(begin, 1)[1].partition(end)
    if not mark:
        raise DumpError("the guest stopped within its test")
    if after.split("\n")[0].strip() != "0":
        raise DumpError("the test in the guest ended with " + after.split("\n")[0])
    return inside


def unpack(text):
    """A packed dump is base64 lines only; kernel messages between them are dropped."""
    lines = text.splitlines()
    if any(line.startswith("/sys/") for line in lines):
        return text
    packed = "".join(line for line in lines if re.fullmatch(r"[A-Za-z0-9+/=]+", line))
    try:
        return gzip.decompress(base64.b64decode(packed, validate=True)).decode(errors="replace")
    except (binascii.Error, EOFError, OSError, zlib.error) as e:
        others = [line for line in lines if line and not re.fullmatch(r"[A-Za-z0-9+/=]+", line)]
        said = f"; other lines in it: {others[:5]}" if others else ""
        raise DumpError(f"the dump cannot be unpacked: {e}{said}") from None


class Dump:
    def __init__(self, text):
        self.values = {}
        for line in unpack(body(text, "topology")).splitlines():
            path, eq, value = line.partition("=")
            if eq:
                self.values.setdefault(path, []).append(value)
        if "/sys/devices/system/node/online" not in self.values:
            raise DumpError("the dump has no /sys/devices/system/node/online")

    def get(self, path):
        """The one value of PATH, or None."""
        found = self.values.get(path)
        return found[0] if found else None

    def node(self, number, rest):
        return self.get(f"/sys/devices/system/node/node{number}/{rest}")

    def cpu(self, number, rest):
        return self.get(f"/sys/devices/system/cpu/cpu{number}/{rest}")

    def log(self):
        return self.values.get("kernel_log", [])

    def matching(self, pattern):
        """{path: value} of the paths that PATTERN matches from the start."""
        return {p: v[0] for p, v in self.values.items() if re.match(pattern, p)}

    def node_numbers(self):
        """{proximity domain: Linux' node number} as the kernel's log tells it.

        Linux numbers nodes in the order in which it meets their domains, and it meets all CPUs
        before any memory, so a memory-only node between others has another number there.
        """
        found = {}
        for line in self.log():
            match = re.search(r"SRAT: PXM (\d+) -> \S+ (?:0x)?\w+ -> Node (\d+)", line)
            if match:
                found[int(match.group(1))] = int(match.group(2))
            match = re.search(r"SRAT: Node (\d+) PXM (\d+) ", line)
            if match:
                found[int(match.group(2))] = int(match.group(1))
        return found
