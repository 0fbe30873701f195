# SPDX-License-Identifier: Apache-2.0
"""The caller's file system in the emulated host, and COMMAND there as if it were run here.

Somebody else started file servers (virtiofsd) and connected to each: "run --root FD" takes the
descriptors. QEMU speaks vhost-user over them, the host mounts what they serve, and hostroot enters
it. A signal goes to the command once that is there; before, and the second time, it ends all.
"""
import json
import os
import select
import shlex
import signal

import rigkernel
from rigkernel import RigError

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def servers(args):
    """(descriptor, tag, folder) of each file server; the folder of the first is the root."""
    if args.root is None:
        if args.root_share:
            raise RigError("--root-share is of no use without --root")
        return []
    found = [(args.root, "root", "/")]
    for i, item in enumerate(args.root_share):
        folder, eq, fd = item.rpartition("=")
        if not (eq and fd.isdigit() and os.path.isabs(folder)):
            raise RigError(f"--root-share: '{item}' is not /DIR=FD")
        found.append((int(fd), f"share{i}", folder))
    return found


def qemu_args(found):
    out = []
    for fd, tag, _ in found:
        try:
            os.fstat(fd)
        except OSError:
            raise RigError(f"there is no descriptor {fd}") from None
        out += ["-chardev", f"socket,id=fs-{tag},fd={fd}",
                "-device", f"vhost-user-fs-pci,chardev=fs-{tag},tag={tag}"]
    return out


class ServerEnded(Exception):
    """A file server ended under a host that uses it."""


def watch(args):
    """Descriptors of the processes that serve."""
    try:
        return [os.pidfd_open(pid) for pid in args.root_server]
    except OSError as e:
        raise RigError(f"--root-server: {e.strerror}") from None


def look(watched):
    """Raises ServerEnded where one of them ended."""
    poll = select.poll()
    for fd in watched:
        poll.register(fd, select.POLLIN)
    if poll.poll(0):
        raise ServerEnded("a file server ended before the command did")


def given(args):
    """[path, text] of each file to be shown."""
    found = []
    for item in args.root_file:
        path, eq, fd = item.rpartition("=")
        if not (eq and fd.isdigit() and os.path.isabs(path)):
            raise RigError(f"--root-file: '{item}' is not /PATH=FD")
        with open(int(fd), encoding="utf-8", errors="surrogateescape") as f:
            f.seek(0)
            found.append([path, f.read()])
    return found


def script(args, command):
    """Lines that run COMMAND there, as who calls, where he is, with his environment."""
    order = {"shares": [[tag, folder] for _, tag, folder in servers(args)[1:]],
             "folder": os.getcwd(), "user": os.getuid(), "group": os.getgid(),
             "groups": os.getgroups(), "command": command, "files": given(args),
             "lost": args.lost_status,
             "ignored": [n for n in PASSED_ON if signal.getsignal(n) == signal.SIG_IGN],
             "environment": dict(os.environ)}
    for item in args.env:
        name, _, value = item.partition("=")
        order["environment"][name] = value
    return ["cat >/run/rig/order <<'END_OF_ORDER'", json.dumps(order), "END_OF_ORDER",
            "exec /numavisor/" + shlex.quote(os.path.relpath(
                os.path.join(os.path.dirname(os.path.abspath(__file__)), "hostroot"),
                rigkernel.tree_root())) + " /run/rig/order"]


def end_as(status):
    """Return STATUS, or end by the signal that a negative one names; a core would be ours."""
    if status >= 0:
        return status
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -status not in (signal.SIGKILL, signal.SIGSTOP):  # nobody can set what these do
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
    return 128 - status
