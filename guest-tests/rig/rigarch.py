# SPDX-License-Identifier: Apache-2.0
"""What differs between hosts of one architecture and another. Pure."""
import copy
import platform


class Arch:
    """One kind of emulated host."""

    def __init__(self, name, deb, uname, qemu, qemu_package, machine, console, kvm_modules,
                 one_cpu):
        self.name = name  # as --arch says it
        self.deb = deb  # as Debian calls it
        self.uname = uname  # as the kernel does
        self.qemu = qemu
        self.qemu_package = qemu_package
        self.machine = machine  # arguments of QEMU
        self.console = console
        self.kvm_modules = kvm_modules
        self.one_cpu = one_cpu  # its CPUs break each other's guests side by side: see rigcpu.py
        self.suite = None  # a release of Debian's, where it is to be another than this machine's

    def of(self, suite):
        """The same with packages of Debian's release SUITE, which have a folder of their own."""
        other = copy.copy(self)
        other.name, other.suite = f"{self.name}-{suite}", suite
        return other

    def native(self):
        return platform.machine() == self.uname

    def machine_args(self, gic, its):
        """Arguments of QEMU for the machine; an interrupt controller of version GIC (None: the usual)
        and an interrupt translation service or none are arm64's to choose."""
        out = list(self.machine)
        if gic is not None:
            out[1] = out[1].replace("gic-version=3", f"gic-version={gic}")
        if not its:
            out[1] += ",its=off"
        return out


# A current AMD family: Linux treats older ones in ways of their own (numbers of cores and
# last-level caches). No XSAVE: the emulation lets a guest's XSETBV pass without KVM's knowledge, so
# the next entry puts back the XCR0 that KVM believes in; with FXSAVE there is nothing to lose.
X86_CPU = "max,+svm,family=25,model=1,stepping=1,-xsave,-avx,-avx2,-f16c,-fma,-pku,-mpx"

ARCHES = {
    "x86": Arch("x86", "amd64", "x86_64", "qemu-system-x86_64", "qemu-system-x86",
                ["-M", "q35", "-bios", "qboot.rom", "-cpu", X86_CPU], "ttyS0", ["kvm-amd"], True),
    # EL2 for KVM, and the interrupt controller that it needs one of to give guests one; KVM is
    # built into the kernel. Pointers are signed by a quick rule: the architected one takes half of
    # the emulation's time.
    "arm64": Arch("arm64", "arm64", "aarch64", "qemu-system-aarch64", "qemu-system-arm",
                  ["-M", "virt,virtualization=on,gic-version=3", "-cpu", "max,pauth-impdef=on"],
                  "ttyAMA0", [], False),
}


def here():
    """The architecture of this machine; x86 for those that the rig does not know."""
    for arch in ARCHES.values():
        if arch.native():
            return arch
    return ARCHES["x86"]
