# SPDX-License-Identifier: Apache-2.0
"""Write initramfs archives ("newc" cpio) without root: device nodes and owners are only records.

Archives are reproducible: entries come in the order of the calls, times are zero, all is root's.
"""
import os
import stat
import subprocess


class Cpio:
    def __init__(self):
        self.parts = []
        self.inode = 0
        self.seen = set()

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        self.inode += 1
        raw = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(raw), 0)
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + raw
        self.parts.append(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def folder(self, name):
        name = name.strip("/")
        if name and name not in self.seen:
            self.folder(os.path.dirname(name))
            self.seen.add(name)
            self._entry(name, stat.S_IFDIR | 0o755)

    def node(self, name, major, minor):
        self.folder(os.path.dirname(name))
        self._entry(name.strip("/"), stat.S_IFCHR | 0o600, rdev=(major, minor))

    def link(self, name, target):
        self.folder(os.path.dirname(name))
        self._entry(name.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def data(self, name, content, mode=0o644):
        self.folder(os.path.dirname(name))
        self._entry(name.strip("/"), stat.S_IFREG | mode, content)

    def file(self, name, source):
        with open(source, "rb") as f:
            content = f.read()
        self.data(name, content, 0o755 if os.access(source, os.X_OK) else 0o644)

    def write(self, out, level="-3"):
        """Finish the archive and write it, compressed by zstd, to OUT (in one step)."""
        self._entry("TRAILER!!!", 0)
        tmp = f"{out}.{os.getpid()}"
        try:
            with open(tmp, "wb") as f:
                subprocess.run(["zstd", "-q", level, "-T2"], input=b"".join(self.parts), stdout=f,
                               check=True)
            os.rename(tmp, out)
        finally:
            if os.path.exists(tmp):
                os.unlink(tmp)
