# SPDX-License-Identifier: Apache-2.0
"""vhostnet.py SOCKET TAP - a vhost-user back end of a network, whose frames pass a TAP interface.

As much of the protocol as it takes to serve one pair of rings, one front end after the other, for
tests: Debian packages no small back end of a network. SIGUSR1 has it lie: in a used ring, and by
what it does to descriptors that it shares with the front end.
"""
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import sys

(GET_FEATURES, SET_FEATURES, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE,
 GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, GET_PROTOCOL_FEATURES) = (
     1, 2, 5, 8, 9, 10, 11, 12, 13, 15)
VERSION_1, PROTOCOL_FEATURES, REPLY_ACK = 1 << 32, 1 << 30, 1 << 3
REPLY, NEED_REPLY = 4, 8
WRITES, NEXT = 2, 1  # of a descriptor
HEADER = 12  # struct virtio_net_hdr_v1
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454ca, 2, 0x1000
FRAME_MAX = 65536


class Ring:
    def __init__(self):
        self.size = self.base = self.desc = self.used = self.avail = 0
        self.kick = self.call = -1

    def close(self):
        for fd in (self.kick, self.call):
            if fd >= 0:
                os.close(fd)
        self.kick = self.call = -1


class BackEnd:
    def __init__(self, conn, tap):
        self.conn, self.tap = conn, tap
        self.regions = []
        self.rings = [Ring(), Ring()]  # to the guest, from the guest
        self.lying = False

    # --- the guest's memory ---

    def map(self, table, fds):
        count = struct.unpack_from("<I", table)[0]
        for i, fd in zip(range(count), fds):
            guest, length, user, off = struct.unpack_from("<4Q", table, 8 + 32 * i)
            view = memoryview(mmap.mmap(fd, length, offset=off))
            self.regions.append((guest, user, length, view))
            os.close(fd)

    def at(self, address, length, is_user=False):
        for guest, user, size, view in self.regions:
            start = address - (user if is_user else guest)
            if 0 <= start <= size - length:
                return view[start:start + length]
        raise ValueError(f"{address:#x} is in no region")

    def words(self, address, length):
        """16 bits are read and written at once."""
        return self.at(address, length, True).cast("H")

    def chain(self, ring, head):
        """The pieces of a request: (memory, whether it is ours to write)."""
        for _ in range(ring.size):
            addr, length, flags, head = struct.unpack_from(
                "<QIHH", self.at(ring.desc + 16 * head, 16, True))
            yield self.at(addr, length), bool(flags & WRITES)
            if not flags & NEXT:
                return

    def take(self, ring):
        """The next head that the driver made available, or None."""
        avail = self.words(ring.avail, 4 + 2 * ring.size)
        if avail[1] == ring.base:
            return None
        head = avail[2 + ring.base % ring.size]
        ring.base = (ring.base + 1) & 0xffff
        return head

    def give(self, ring, head, written):
        used = self.words(ring.used, 4 + 8 * ring.size)
        at = used[1]
        struct.pack_into("<II", self.at(ring.used + 4 + 8 * (at % ring.size), 8, True), 0, head,
                         written)
        used[1] = (at + 1) & 0xffff

    # --- frames ---

    def send(self):
        ring, done = self.rings[1], False
        while (head := self.take(ring)) is not None:
            data = b"".join(bytes(piece) for piece, _ in self.chain(ring, head))
            try:
                os.write(self.tap, data[HEADER:])
            except OSError:
                pass  # as on a wire
            self.give(ring, head, 0)
            done = True
        if done:
            os.eventfd_write(ring.call, 1)

    def receive(self):
        ring = self.rings[0]
        data = bytes(10) + struct.pack("<H", 1) + os.read(self.tap, FRAME_MAX)
        head = self.take(ring) if ring.call >= 0 and not self.lying else None
        if head is None:
            return  # nobody waits for it: lost
        written = 0
        for piece, mine in self.chain(ring, head):
            part = data[written:written + len(piece)]
            if mine:
                piece[:len(part)] = part
                written += len(part)
        self.give(ring, head, written)
        os.eventfd_write(ring.call, 1)

    # --- the protocol ---

    def message(self):
        """False: the front end has gone."""
        head, fds, _, _ = socket.recv_fds(self.conn, 12, 8)
        if len(head) < 12:
            return False
        request, flags, length = struct.unpack("<III", head)
        body = b""
        while len(body) < length:
            more = self.conn.recv(length - len(body))
            if not more:
                return False
            body += more
        answer = self.obey(request, body, fds)
        if answer is None and flags & NEED_REPLY:
            answer = struct.pack("<Q", 0)
        if answer is not None:
            self.conn.sendall(struct.pack("<III", request, 1 | REPLY, len(answer)) + answer)
        return True

    def obey(self, request, body, fds):
        first, second = struct.unpack_from("<II", body) if len(body) >= 8 else (0, 0)
        ring = self.rings[first & 0xff] if SET_VRING_NUM <= request <= SET_VRING_CALL else None
        if request == GET_FEATURES:
            return struct.pack("<Q", VERSION_1 | PROTOCOL_FEATURES)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", REPLY_ACK)
        if request == SET_MEM_TABLE:
            self.regions.clear()
            self.map(body, fds)
        elif request == SET_VRING_NUM:
            ring.size = second
        elif request == SET_VRING_BASE:
            ring.base = second
        elif request == SET_VRING_ADDR:
            ring.desc, ring.used, ring.avail = struct.unpack_from("<QQQ", body, 8)
        elif request == SET_VRING_KICK:
            ring.kick = fds[0]
        elif request == SET_VRING_CALL:
            ring.call = fds[0]
        elif request == GET_VRING_BASE:
            ring.close()
            return struct.pack("<II", first, ring.base)
        return None

    def lie(self):
        """From here on rings stand still, and the link alone is served."""
        self.lying = True
        ring = self.rings[0]  # Linux 6.1 loops for ever where the other one is like that
        used = self.at(ring.used, 4 + 8 * ring.size, True)
        used[4:] = b"\xff" * (8 * ring.size)
        used.cast("H")[1] = (used.cast("H")[1] + 3 * ring.size) & 0xffff
        for ring in self.rings:
            # As full as it gets, then blocking, for the front end, too: one file, one set of flags.
            for bit in range(63, -1, -1):
                try:
                    os.eventfd_write(ring.call, 1 << bit)
                except BlockingIOError:
                    pass
            os.set_blocking(ring.call, True)
            os.set_blocking(ring.kick, True)

    def close(self):
        for ring in self.rings:
            ring.close()
        self.conn.close()

    def serve(self, wishes):
        """Until the front end goes. WISHES: a descriptor that has a byte for each signal."""
        while True:
            kicks = [r.kick for r in self.rings if r.kick >= 0 and not self.lying]
            events = select.select([self.conn.fileno(), self.tap, wishes, *kicks], [], [])[0]
            if wishes in events:
                os.read(wishes, 1)
                self.lie()
            for fd in kicks:
                if fd in events:
                    os.read(fd, 512)
            if not self.lying and self.rings[1].call >= 0:
                self.send()
            if self.tap in events:
                self.receive()
            if self.conn.fileno() in events and not self.message():
                return


def open_tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def main():
    path, tap = sys.argv[1], open_tap(sys.argv[2])
    wishes, wish = os.pipe()
    os.set_blocking(wish, False)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.set_wakeup_fd(wish)
    if os.path.lexists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(1)
        print("listening", flush=True)
        while True:
            conn, _ = listener.accept()
            end = BackEnd(conn, tap)
            try:
                end.serve(wishes)
            finally:
                end.close()


main()
