# SPDX-License-Identifier: Apache-2.0
"""The host's side of an exchange with a guest's xcat: random bytes both ways at once."""
import hashlib
import os
import socket
import threading

import guestvm


def exchange(sock, count):
    """Send COUNT random bytes while receiving to the end: (sum sent, sum received)."""
    sock.settimeout(guestvm.PATIENCE)
    data = os.urandom(count)

    def send():
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    got = hashlib.sha256()
    while chunk := sock.recv(65536):
        got.update(chunk)
    sender.join(guestvm.PATIENCE)
    sock.close()
    return hashlib.sha256(data).hexdigest(), got.hexdigest()


class Server:
    """Listens from now on, serves one exchange in a thread of its own."""

    def __init__(self, address, count):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sums = None
        self.error = "nobody came"
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(address)
        self.sock.listen(1)
        self.sock.settimeout(guestvm.PATIENCE)
        self.thread = threading.Thread(target=self._serve, args=(count,), daemon=True)
        self.thread.start()

    def _serve(self, count):
        try:
            peer, _ = self.sock.accept()
            self.sums = exchange(peer, count)
        except OSError as e:
            self.error = str(e)
        finally:
            self.sock.close()

    def close(self):
        """Once the guest has told its end: (sum sent, sum received)."""
        self.thread.join(10)
        return self.sums or (self.error, "")


def tcp(address, count):
    return exchange(socket.create_connection(address, guestvm.PATIENCE), count)


def vsock(path, port, count):
    """Connect to a port of the guest through the device's Unix socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(guestvm.PATIENCE)
    sock.connect(path)
    sock.sendall(b"CONNECT %d\n" % port)
    line = b""
    while not line.endswith(b"\n"):
        byte = sock.recv(1)
        if not byte:
            raise guestvm.Trouble(f"{path}: closed after {line!r}")
        line += byte
    if not line.startswith(b"OK "):
        raise guestvm.Trouble(f"{path}: answered {line!r}")
    return exchange(sock, count)


def compare(tap, vm, name, peer):
    """PEER is a server or the host's (sent, received); the guest's sums are on its console."""
    status, sent, received = vm.swapped(name)
    sums = peer.close() if isinstance(peer, Server) else peer
    tap.same((status, sent, received), ("0", sums[1], sums[0]), f"{name}: the same bytes both ways")
