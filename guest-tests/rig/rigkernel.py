# SPDX-License-Identifier: Apache-2.0
"""Find, fetch and unpack Debian's cloud kernel.

The rig boots it as the emulated host and the Linux tests boot it as the guest, so both take it
from here. Order of search: what the caller named, a cloud kernel installed below /boot, one
unpacked earlier below build/rig/kernel/, and last the package, fetched by name through apt. Those
of another release of Debian's have a folder of their own, so that nobody gets one who did not ask.
Nothing here needs root: packages are unpacked, never installed.
"""
import fcntl
import glob
import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile

import rigarch


class RigError(Exception):
    """A sentence for the user; the program prints it and ends with status 125."""


class Kernel:
    """A bootable image, the folder of its modules (with modules.dep) and its release."""

    def __init__(self, vmlinuz, modules, version):
        self.vmlinuz = vmlinuz
        self.modules = modules
        self.version = version


def tree_root():
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def build_dir(arch=None):
    """The build folder: $BUILD as make knows it, relative to the tree's root."""
    default = "build" if (arch or rigarch.here()).native() else f"build/{arch.name}"
    return os.path.join(tree_root(), os.environ.get("BUILD") or default)


def rig_dir():
    """Where kernels and images are kept; shared by all build folders. The user's cache where the
    tree is not his."""
    path = os.path.join(tree_root(), "build", "rig")
    if not os.access(path if os.path.isdir(path) else tree_root(), os.W_OK):
        path = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                            "numavisor", "rig")
    os.makedirs(path, exist_ok=True)
    return path


def program(name):
    """Path of a program, also of one that sits in an sbin folder outside PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def need(name, package):
    found = program(name)
    if not found:
        raise RigError(f"{name} is missing; install the Debian package {package}")
    return found


class locked:
    """Hold build/rig/lock, so that two runs do not fetch or build the same thing."""

    def __enter__(self):
        self.file = open(os.path.join(rig_dir(), "lock"), "w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *exc):
        self.file.close()


def bzimage_fields(path):
    """(version, payload offset, payload length) from the x86 boot protocol header."""
    with open(path, "rb") as f:
        head = f.read(0x10000)
    if len(head) < 0x260 or head[0x202:0x206] != b"HdrS":
        raise RigError(f"{path} is not a bzImage")
    setup = (head[0x1F1] or 4) + 1
    (ver,) = struct.unpack_from("<H", head, 0x20E)
    off, length = struct.unpack_from("<II", head, 0x248)
    text = head[ver + 0x200:ver + 0x280].split(b"\0")[0].decode("ascii", "replace")
    return text.split(" ")[0], setup * 512 + off, length


def version_key(version):
    return [int(x) for x in re.findall(r"\d+", version)]


def from_prefix(arch, prefix, version=None):
    """The newest cloud kernel below PREFIX/boot that has its modules, or None."""
    pattern = os.path.join(prefix, "boot", "vmlinuz-" + (version or f"*cloud-{arch.deb}"))
    for image in sorted(glob.glob(pattern), key=version_key, reverse=True):
        found = os.path.basename(image)[len("vmlinuz-"):]
        modules = os.path.join(prefix, "lib", "modules", found)
        if os.path.exists(os.path.join(modules, "modules.dep")) and os.access(image, os.R_OK):
            return Kernel(image, modules, found)
    return None


def cache(arch):
    return os.path.join(rig_dir(), arch.name if arch.suite else "", "kernel")


def from_cache(arch, version=None):
    for prefix in sorted(glob.glob(os.path.join(cache(arch), "*")), key=version_key,
                         reverse=True):
        found = from_prefix(arch, prefix, version)
        if found:
            return found
    return None


def from_image(path):
    """A kernel given as a file: its modules lie beside it or are installed."""
    path = os.path.abspath(path)
    version = bzimage_fields(path)[0]
    beside = os.path.join(os.path.dirname(os.path.dirname(path)), "lib", "modules", version)
    for modules in (beside, os.path.join("/lib/modules", version)):
        if os.path.exists(os.path.join(modules, "modules.dep")):
            return Kernel(path, modules, version)
    raise RigError(f"no modules for {path}: neither {beside} nor /lib/modules/{version} "
                   "has a modules.dep")


def apt_options(arch):
    """For apt: none for this machine's own packages."""
    if arch.native() and not arch.suite:
        return []
    import rigroot  # which needs this module
    rigroot.refresh(arch)
    return rigroot.options(arch)


def package_name(arch):
    need("apt-cache", "apt")
    meta = f"linux-image-cloud-{arch.deb}"
    out = subprocess.run(["apt-cache", *apt_options(arch), "depends", meta], capture_output=True,
                         text=True, check=False)
    match = re.search(rf"Depends: (linux-image-\S+-cloud-{arch.deb})", out.stdout)
    if not match:
        raise RigError(f"apt does not know the package {meta}; run apt-get update, "
                       "or name a kernel with --kernel")
    return match.group(1)


def parts(arch, package):
    """PACKAGE, and what else its files are in: since Linux 7.3 it has none itself."""
    version = package[len("linux-image-"):]
    out = subprocess.run(["apt-cache", *apt_options(arch), "depends", package],
                         capture_output=True, text=True, check=False).stdout
    return [package] + [p for p in (f"linux-binary-{version}", f"linux-modules-{version}",
                                    f"linux-base-{version}")
                        if f" {p}\n" in out]


def as_installed(tree, version):
    """Image and modules where they used to be, too."""
    own = os.path.join("usr", "lib", "modules", version)
    if os.path.isdir(os.path.join(tree, own)) and not os.path.exists(os.path.join(tree, "lib")):
        os.symlink("usr/lib", os.path.join(tree, "lib"))
    boot = os.path.join(tree, "boot")
    os.makedirs(boot, exist_ok=True)
    if os.path.exists(os.path.join(tree, own, "vmlinuz")):
        os.symlink(os.path.join("..", own, "vmlinuz"), os.path.join(boot, "vmlinuz-" + version))


def fetch(arch, package):
    """Download PACKAGE, unpack it below build/rig/kernel/ and make its modules.dep."""
    for tool, owner in (("apt-get", "apt"), ("dpkg", "dpkg"), ("depmod", "kmod")):
        need(tool, owner)
    version = package[len("linux-image-"):]
    where = cache(arch)
    os.makedirs(where, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch.", dir=where) as tmp:
        os.chmod(tmp, 0o755)
        wanted = parts(arch, package)
        got = subprocess.run(["apt-get", *apt_options(arch), "download", "-q", *wanted], cwd=tmp,
                             text=True, capture_output=True)
        debs = glob.glob(os.path.join(tmp, "*.deb"))
        if got.returncode != 0 or len(debs) != len(wanted):
            raise RigError(f"cannot download the package {package}: "
                           + (got.stderr.strip() or "apt-get gave no file"))
        tree = os.path.join(tmp, "tree")
        for deb in debs:
            subprocess.run(["dpkg", "-x", deb, tree], check=True)
        as_installed(tree, version)
        subprocess.run([program("depmod"), "-b", tree, version], check=True)
        final = os.path.join(where, version)
        if not os.path.exists(final):
            os.rename(tree, final)
    return final


def find(wanted=None, arch=None):
    """The kernel that WANTED names: a file, its version, a release of Debian's, whose newest cloud
    kernel is meant, or None for the newest one here."""
    arch = arch or rigarch.here()
    if wanted and re.fullmatch("[a-z]+", wanted) and not os.path.isfile(wanted):
        arch, wanted = arch.of(wanted), package_name(arch.of(wanted))[len("linux-image-"):]
    if wanted and (os.sep in wanted or os.path.isfile(wanted)):
        if arch.name != "x86":
            raise RigError("--kernel: a file can be named for x86 only; name a release")
        if not os.path.isfile(wanted):
            raise RigError(f"no kernel image at {wanted}")
        return from_image(wanted)
    found = (None if arch.suite else from_prefix(arch, "/", wanted)) or from_cache(arch, wanted)
    if found:
        return found
    with locked():
        found = from_cache(arch, wanted)  # another run may have fetched it meanwhile
        if found:
            return found
        final = fetch(arch, "linux-image-" + wanted if wanted else package_name(arch))
    found = from_prefix(arch, final, wanted)
    if not found:
        raise RigError(f"the package unpacked to {final} holds no bootable kernel")
    return found


def extract_vmlinux(kernel, out):
    """Write the uncompressed ELF kernel that the bzImage carries to OUT."""
    _, off, length = bzimage_fields(kernel.vmlinuz)
    with open(kernel.vmlinuz, "rb") as f:
        f.seek(off)
        packed = f.read(length)
    if packed.startswith(b"\x02\x21\x4c\x18"):
        # LZ4 "legacy" frames; the last four bytes are the unpacked size and belong to no block.
        elf = subprocess.run([need("lz4", "lz4"), "-dc"], input=packed[:-4], check=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    elif packed.startswith(b"\xfd7zXZ"):
        elf = lzma.LZMADecompressor().decompress(packed)
    elif packed.startswith(b"\x1f\x8b"):
        elf = gzip.decompress(packed[:-4])
    elif packed.startswith(b"\x28\xb5\x2f\xfd"):
        elf = subprocess.run([need("zstd", "zstd"), "-dcq"], input=packed[:-4], check=True,
                             stdout=subprocess.PIPE).stdout
    elif packed.startswith(b"\x7fELF"):
        elf = packed
    else:
        raise RigError(f"{kernel.vmlinuz}: unknown compression of the kernel inside")
    if not elf.startswith(b"\x7fELF"):
        raise RigError(f"{kernel.vmlinuz}: what it unpacks to is not ELF")
    tmp = f"{out}.{os.getpid()}"
    with open(tmp, "wb") as f:
        f.write(elf)
    os.rename(tmp, out)
