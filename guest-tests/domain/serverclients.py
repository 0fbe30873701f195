# SPDX-License-Identifier: Apache-2.0
"""Who asks the guests' servers, from outside: fill() has a server keep what is made from a seed,
check() asks for it and compares. Both return how many answers were right; what is wrong raises."""
import hashlib
import http.client
import random
import socket
import struct

PATIENCE_S = 300
BATCH = 64


class Wrong(Exception):
    """A server did not answer what it should."""


def value(seed, i):
    """4 KiB of text, which shrinks to about half."""
    return random.Random(seed * 1000003 + i).randbytes(2048).hex().encode()


def same(got, want, what):
    if got != want:
        raise Wrong(f"{what}: {got[:80]!r}, not {want[:80]!r}")


class Link:
    """A connection with what was read of it and not used."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.left = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _more(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise Wrong(f"it hung up after {self.left[-80:]!r}")
        self.left += data

    def take(self, count):
        while len(self.left) < count:
            self._more()
        out, self.left = self.left[:count], self.left[count:]
        return out

    def line(self):
        while b"\r\n" not in self.left:
            self._more()
        out, self.left = self.left.split(b"\r\n", 1)
        return out


class Web:
    """nginx: files of the disk."""
    port = 80

    def __init__(self, files):
        self.files = files

    def fill(self, port, seed):
        return self.check(port, seed)

    def check(self, port, seed):
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        wanted = random.Random(seed).sample(self.files, 40)
        for path, md5 in wanted:
            link.request("GET", path.replace("%", "%25").replace("+", "%2B"))
            same(hashlib.md5(link.getresponse().read()).hexdigest(), md5, path)
        link.close()
        return len(wanted)


class Keys:
    """Of a server that keeps values by keys."""
    count = 1024

    def fill(self, port, seed):
        with Link(port) as link:
            for first in range(0, self.count, BATCH):
                batch = range(first, first + BATCH)
                link.send(b"".join(self.put(i, value(seed, i)) for i in batch))
                for i in batch:
                    same(link.line(), self.stored, f"key {i}")
        return self.count

    def check(self, port, seed):
        with Link(port) as link:
            for first in range(0, self.count, BATCH):
                link.send(b"".join(map(self.get, range(first, first + BATCH))))
                for i in range(first, first + BATCH):
                    same(self.answer(link, i), value(seed, i), f"key {i}")
        return self.count


class Redis(Keys):
    port = 6379
    stored = b"+OK"

    def put(self, i, data):
        key = b"%d" % i
        return b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(key), key, len(data), data)

    def get(self, i):
        key = b"%d" % i
        return b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key)

    def answer(self, link, i):
        same(link.line(), b"$4096", f"key {i}")
        return link.take(4096 + 2)[:-2]


class Memcached(Keys):
    port = 11211
    stored = b"STORED"

    def put(self, i, data):
        return b"set %d 0 0 %d\r\n%s\r\n" % (i, len(data), data)

    def get(self, i):
        return b"get %d\r\n" % i

    def answer(self, link, i):
        same(link.line(), b"VALUE %d 0 4096" % i, f"key {i}")
        data = link.take(4096 + 2)[:-2]
        same(link.line(), b"END", f"key {i}")
        return data


class Postgres:
    """By its protocol, version 3: simple queries."""
    port = 5432
    rows = 10000

    def _query(self, link, text):
        """The only column of the last row, or nothing."""
        link.send(struct.pack(">cI", b"Q", len(text) + 5) + text.encode() + b"\0")
        out = None
        while True:
            kind, size = struct.unpack(">cI", link.take(5))
            body = link.take(size - 4)
            if kind == b"E":
                raise Wrong(f"PostgreSQL: {body!r}")
            if kind == b"D":
                out = body[6:].decode()
            if kind == b"Z":
                return out

    def _open(self, port):
        link = Link(port)
        words = b"user\0postgres\0database\0postgres\0\0"
        link.send(struct.pack(">II", len(words) + 8, 3 << 16) + words)
        while True:
            kind, size = struct.unpack(">cI", link.take(5))
            body = link.take(size - 4)
            if kind == b"E":
                raise Wrong(f"PostgreSQL: {body!r}")
            if kind == b"Z":
                return link

    def fill(self, port, seed):
        with self._open(port) as link:
            self._query(link, "create table sale as select i, repeat(md5(text(i) || ' of "
                              f"{seed}'), 4) as what from generate_series(1, {self.rows}) i")
        return self.check(port, seed)

    def check(self, port, seed):
        text = "".join(hashlib.md5(f"{i} of {seed}".encode()).hexdigest() * 4
                       for i in range(1, self.rows + 1))
        with self._open(port) as link:
            got = self._query(link, "select md5(string_agg(what, '' order by i)) from sale")
        same(got, hashlib.md5(text.encode()).hexdigest(), "the table")
        return 1
