# SPDX-License-Identifier: Apache-2.0
"""The table: which guest runs in which machine, and how it must end."""
import dataclasses

import barefacts

PASS, RESET, STOPPED, LOST, POWER_OFF = 32, 3, 4, 5, 0  # exit statuses, see numavisor(1)

# Description of a machine -> options, or a dict for --config.
TOPOLOGIES = {
    "one CPU": ["--memory", "64M"],
    "two nodes": ["--cpus", "4", "--memory", "128M", "--vnuma", "2"],
    "four nodes with SMT and uneven distances":
        ["--cpus", "8", "--memory", "128M", "--vnuma", "4", "--threads", "2", "--distance",
         "0-1=15", "--distance", "1-0=30", "--distance", "2-3=12"],
    "several dies": ["--cpus", "8", "--memory", "64M", "--threads", "1", "--cores", "2", "--dies",
                     "2", "--sockets", "2"],
    "small L3s": ["--cpus", "8", "--memory", "64M", "--l3", "4M,cores=2"],
    "a node without CPUs": ["--node", "cpus=0-1,memory=64M", "--node",
                            "memory=64M,initiator=0"],
    "a node without memory": ["--node", "cpus=0,memory=64M", "--node", "cpus=1"],
    "a hotplug window": ["--node", "cpus=0,memory=64M,hotplug=2G", "--node",
                         "cpus=1,memory=64M,hotplug=4G"],
    "links": ["--cpus", "2", "--memory", "64M", "--vnuma", "2",
              "--link", "from=0,to=0,latency=80,bandwidth=100G/s",
              "--link", "from=0,to=1,latency=137,bandwidth=10G/s",
              "--link", "from=1,to=0,latency=141"],
    "memory-side caches": {
        "nodes": [{"cpus": "0", "memory": "64M"},
                  {"memory": "64M", "initiator": 0, "memory_caches": [
                      {"size": "16M", "line": 64, "associativity": "direct", "write": "back"}]}],
        "links": [{"from": 0, "to": 0, "latency": 90}, {"from": 0, "to": 1, "latency": 300}]},
    "128 nodes, 4 CPUs": [x for i in range(128) for x in
                          ("--node", f"cpus={i},memory=64M" if i < 4 else "memory=2M")],
    "64 CPUs": ["--cpus", "64", "--memory", "64M", "--vnuma", "4"],
    "memory above 4 GiB": ["--cpus", "2", "--memory", "5G", "--vnuma", "2"],
}
FACTS = [t for t in TOPOLOGIES if t not in ("64 CPUs", "memory above 4 GiB")]
SMALL = ["--cpus", "3", "--memory", "64M"]
MANY = ["--cpus", "300", "--memory", "64M"]  # APIC ids above 255
RNG = ["--rng"]
NET = ["--net", "user"]
PAGER = ["--cpus", "2", "--memory", "32M", "--vnuma", "2", "--pager", "on"]
SLOW = ["--node", "cpus=0,memory=64M", "--node", "memory=32M", "--slow", "node=1,factor=8"]
SWAP = PAGER + ["--pager-store", "2M", "--pager-swap", "@SWAP@"]
ENDLESS = "rounds=1000000"  # the host stops it when it has seen enough
BALLOON = ["--balloon", "size=0"]
VSOCK = ["--vsock", "cid=3,socket=@DIR@/vsock"]
DISK = ["--disk", "@DISK@"]  # a fresh copy of the pattern for each case


@dataclasses.dataclass
class Case:
    guest: str
    where: str = ""               # key of TOPOLOGIES, or words for options
    options: list = dataclasses.field(default_factory=list)
    cmdline: str = ""
    status: int = PASS
    image: str = "elf"            # suffix; elf64: the same program before it was wrapped
    facts: object = None          # function of barefacts
    press_power: bool = False     # ctl NAME power, once the guest waits for it
    grow: str = ""                # ctl NAME grow node=0 by this, once the guest waits for it
    calm: str = ""                # command line of a second run: peak memory must be the same
    says: str = ""                # must be in the output
    seconds: int = 60
    evict: bool = False           # all its memory, again and again, with a pause and a reset; stop
    target: str = ""              # the same by itself, so much of each node may stay
    slow: bool = False            # its rounds with and without a slow node, by turns; stop

    damage: int = 0               # so many pages of what was evicted to @SWAP@, once it waits
    beside: str = ""              # a guest that goes on meanwhile, its memory evicted, too

    skips: int = -1               # so many checks are left out, not one more; -1: as many as like
    long: bool = False            # only with --all, where cases are a sample otherwise

    @property
    def name(self):
        where = f" in a machine with {self.where}" if self.where else ""
        kind = " as 64-bit ELF" if self.image == "elf64" else ""
        return f"{self.guest}{kind}{where}{', ' + self.cmdline if self.cmdline else ''}"


def table(machine):
    """The cases for a machine of this kind, as uname has it."""
    return arm64() if machine == "aarch64" else x86()


def arm(guest, where="", options=(), says="\n1..", **more):
    """A guest for arm64: no place for its verdict but what it says, and PSCI to end with."""
    return Case(guest, where, list(options), image="image", status=more.pop("status", POWER_OFF),
                says=says, **more)


def arm64():
    for t in ("two nodes", "four nodes with SMT and uneven distances", "a node without CPUs",
              "a node without memory"):
        yield arm("arm64/device_tree", t, facts=barefacts.tree, seconds=120)
    yield arm("arm64/device_tree", "128 nodes, 4 CPUs", facts=barefacts.tree, seconds=400,
              long=True)
    yield arm("arm64/start_cpus", "two nodes", seconds=120)
    yield arm("arm64/start_cpus", "20 CPUs", ["--cpus", "20", "--memory", "64M"], seconds=240)
    yield arm("arm64/interrupts", "one CPU", seconds=120)
    yield arm("arm64/interrupts", "two nodes", seconds=120)
    for t in ("two nodes", "128 nodes, 4 CPUs", "memory above 4 GiB"):
        yield arm("memory_edges", t, facts=barefacts.memory_whole, seconds=120)
    yield arm("arm64/reset", options=SMALL + DISK, says="this is the second boot", seconds=120)
    yield arm("arm64/gic_reset", options=SMALL + DISK, says="this is the second boot", seconds=120)
    yield arm("arm64/reset", options=SMALL + ["--on-reset", "exit"], cmdline="once", says="",
              status=RESET)
    yield arm("virtio_ring_abuse", "a disk", SMALL + DISK, seconds=300, skips=5)
    yield arm("virtio_ring_abuse", "all devices", SMALL + DISK + RNG + NET + VSOCK + BALLOON,
              seconds=600, long=True, skips=1)


def x86():
    yield from (Case("acpi_tables", t, facts=barefacts.acpi, seconds=120) for t in FACTS)
    yield from (Case("cpuid_topology", t, facts=barefacts.cpuid, seconds=120) for t in FACTS)
    for t in ("one CPU", "two nodes", "several dies", "128 nodes, 4 CPUs", "64 CPUs"):
        yield Case("start_aps", t, seconds=120)
    yield Case("start_aps", "300 CPUs", MANY, seconds=180)
    yield Case("start_aps", "1024 CPUs, 128 nodes", [
        "--cpus", "1024", "--memory", "1G", "--vnuma", "128"], seconds=300)
    for t in ("two nodes", "64 CPUs"):
        yield Case("start_aps", t, cmdline="xapic")
    for level in ("llc", "node", "socket"):
        yield Case("start_aps", f"CPUs pinned by {level}", SMALL + ["--pin", level])
    yield Case("multiboot", options=SMALL)
    yield Case("multiboot", options=SMALL, image="elf64")
    yield Case("multiboot", options=SMALL + ["--initrd", "@INITRD@"], cmdline="module=70001")
    for t in ("one CPU", "two nodes", "a hotplug window", "128 nodes, 4 CPUs",
              "memory above 4 GiB"):
        yield Case("memory_edges", t, facts=barefacts.memory)
    yield Case("mmio_widths", options=SMALL)
    yield Case("exit_storm", options=SMALL, cmdline="count=5000", calm="count=50", seconds=120)
    yield Case("interrupts", options=SMALL)
    for code in (0, 1, 7, 91):
        yield Case("debug_exit", options=SMALL, cmdline=f"code={code}", status=PASS + code,
                   says=f"fact code={code}")
    yield Case("debug_exit", options=SMALL, cmdline="code=200", status=124, says="fact code=200")
    yield Case("power_off", options=SMALL, status=POWER_OFF)
    yield Case("power_off", options=SMALL, cmdline="wait", status=POWER_OFF, press_power=True)
    for how in range(3):
        yield Case("reset", options=SMALL + DISK, cmdline=f"how={how}",
                   says="this is the second boot")
    for how in range(3):
        yield Case("reset", options=SMALL + ["--on-reset", "exit"], cmdline=f"once how={how}",
                   status=RESET)
    yield Case("virtio_io", "one CPU", TOPOLOGIES["one CPU"] + DISK + RNG)
    yield Case("virtio_io", "three CPUs", SMALL + DISK + RNG)
    yield Case("interrupts", "300 CPUs", MANY, seconds=180)
    yield Case("virtio_io", "300 CPUs", MANY + DISK + RNG, seconds=180)
    yield Case("virtio_net", options=SMALL + NET)
    yield Case("virtio_ring_abuse", "all devices", SMALL + DISK + RNG + NET + VSOCK + BALLOON,
               seconds=300, skips=1)
    # The serial port is silent then: the exit status tells, and the zeroes that were sent.
    yield Case("virtio_ring_abuse", "a virtio console", SMALL + ["--console", "virtio"],
               says="\0" * 8, seconds=120)
    yield Case("disk_abuse", options=SMALL + DISK)
    yield Case("paging", "all of its memory evicted", PAGER, cmdline=ENDLESS, evict=True,
               status=STOPPED, seconds=240)
    yield Case("paging", "a target of 6 MiB a node", PAGER + ["--pager-budget", "100%"],
               cmdline=ENDLESS, target="6M", status=STOPPED, seconds=240)
    yield Case("user_chase", "a slow node", SLOW, cmdline="at=64 steps=400000 rounds=100000000",
               slow=True, status=STOPPED, seconds=120)
    yield Case("stall", options=PAGER, cmdline="windows=5 ticks=20000000", seconds=120)
    yield Case("virtio_io", "all of its memory evicted", PAGER + DISK + RNG,
               cmdline=ENDLESS, evict=True, status=STOPPED, seconds=240)
    yield Case("virtio_net", "all of its memory evicted", PAGER + NET, cmdline=ENDLESS, evict=True,
               status=STOPPED, seconds=240)
    yield Case("stress", options=SMALL + DISK + NET, cmdline="rounds=5")
    yield Case("stress", "all of its memory evicted", PAGER + DISK + NET, cmdline=ENDLESS, evict=True,
               status=STOPPED, seconds=240)
    yield Case("lost", "a page of its memory lost", SWAP, cmdline="lost=1", damage=1, seconds=120)
    yield Case("lost", "a page of its memory lost", SWAP, cmdline="lost=1 deaf", damage=1,
               status=LOST, seconds=120)
    for deaf, status in (("", PASS), (" deaf", LOST)):
        yield Case("lost", "a page of its memory lost, beside another guest", SWAP,
                   cmdline=f"lost=1{deaf}", damage=1, beside="paging", status=status, seconds=120)
    yield Case("mem_abuse", "a hotplug window", TOPOLOGIES["a hotplug window"], seconds=120)
    yield Case("mem_plug", "a hotplug window", TOPOLOGIES["a hotplug window"], grow="512M",
               seconds=120)
    yield Case("mem_plug", "a hotplug window, all memory evicted", TOPOLOGIES["a hotplug window"] + [
        "--pager", "on"], cmdline=ENDLESS, grow="512M", evict=True, status=STOPPED, seconds=240)
    yield Case("balloon_abuse", options=SMALL + BALLOON, seconds=120)
    yield Case("pci_scan", "two nodes", TOPOLOGIES["two nodes"] + [
        "--disk", "@DISK@,node=1", "--rng"], facts=barefacts.pci)
    yield Case("pci_scan", "128 nodes, 4 CPUs", cmdline="tame", facts=barefacts.pci)
