# SPDX-License-Identifier: Apache-2.0
"""Run the command on this machine, where it has what the rig would emulate."""
import os
import re
import signal
import subprocess
import sys

import rigarch
import rigkernel


def nodes_online():
    try:
        with open("/sys/devices/system/node/online", encoding="ascii") as f:
            text = f.read().strip()
    except OSError:
        return 1
    ends = [[int(x) for x in part.split("-")] for part in text.split(",") if part]
    return sum(e[-1] - e[0] + 1 for e in ends)


def hardware_kvm():
    """Whether KVM here runs kernels by hardware: SVM or VT-x shown, and the device may be used."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            flags = re.search(r"^flags\s*:(.*)$", f.read(), re.M)
    except OSError:
        return False
    have = flags.group(1).split() if flags else []
    return ("svm" in have or "vmx" in have) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def possible(args):
    """Only when nothing was asked for that describes one particular host."""
    particular = (args.force_emulation or args.cpus or args.memory or args.node_memory
                  or args.distances
                  or args.kernel or args.keep_log or args.disk or args.net or args.extra
                  or args.gic or args.no_its
                  or args.count_accesses or args.distance_delay or args.root is not None)
    return (not particular and rigarch.ARCHES[args.arch].native() and hardware_kvm()
            and nodes_online() >= max(2, args.nodes or 2))


def environment(args):
    env = dict(os.environ)
    env["PATH"] = rigkernel.build_dir() + ":" + env.get("PATH", "/usr/bin:/bin")
    for item in args.env:
        name, eq, value = item.partition("=")
        if eq:
            env[name] = value
    return env


def run(args, command):
    print(f"rig: this machine has hardware KVM and {nodes_online()} nodes: running directly",
          file=sys.stderr)
    try:
        child = subprocess.Popen(command, cwd=rigkernel.tree_root(), env=environment(args),
                                 start_new_session=True)
    except OSError as e:
        print(f"rig: {command[0]}: {e.strerror}", file=sys.stderr)
        return 127 if isinstance(e, FileNotFoundError) else 126
    try:
        status = child.wait(timeout=args.time_limit)
    except subprocess.TimeoutExpired:
        print(f"rig: time limit of {args.time_limit:g} s ran out", file=sys.stderr)
        status = 124
    except KeyboardInterrupt:
        status = 130
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)  # what the command left behind, too
        except ProcessLookupError:
            pass
        child.wait()
    return status if status >= 0 else 128 - status
