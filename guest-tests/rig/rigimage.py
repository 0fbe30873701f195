# SPDX-License-Identifier: Apache-2.0
"""Make what the emulated host boots from: a small initramfs and read-only ext4 images.

The images are layers of one root (the kernel's modules, the tools, this tree, extra programs);
the initramfs joins them with overlayfs. ext4 is built into Debian's cloud kernel and reads
without unpacking, so the size of a layer costs nothing at boot, and mke2fs fills an image from a
folder without root.

Every image has a key made from the names, sizes and times of what goes in; an image whose key
exists is used as it is, and only a few per kind are kept. Callers hold images open, so pruning
never takes one from a running machine.
"""
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

import rigarch
import rigkernel
import rigroot
from rigcpio import Cpio
from rigkernel import RigError, need, program

HERE = os.path.dirname(os.path.abspath(__file__))
KEEP = 4  # images of one kind that stay cached

# In the order of loading; what each depends on comes first (modprobe's order, from modules.dep).
# KVM's come behind them.
BOOT_MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "overlay"]

# Programs of the host, where this machine has them; busybox stands in for what is missing.
TOOLS = """
    bash sh busybox
    cat chgrp chmod chown cksum cmp comm cp cut date dd df diff dirname du echo env expr false head
    id install join ln ls md5sum mkdir mkfifo mknod mktemp mv nl nproc numfmt od paste printf pwd
    readlink realpath rm rmdir seq sha256sum shuf sleep sort split stat stdbuf stty sync tac tail
    tee test timeout touch tr true truncate uname uniq wc whoami yes basename base64 b2sum
    awk mawk grep egrep fgrep sed find xargs tar gzip gunzip zstd lz4 cpio
    ps pgrep kill free vmstat pmap
    lscpu lsblk lsipc flock setsid setpriv unshare nsenter prlimit taskset chrt script mount umount
    findmnt losetup blkdiscard dmesg getconf
    ip ss tc bridge socat iperf3 fio jq
    numactl numastat migratepages memhog lstopo-no-graphics hwloc-info hwloc-calc hwloc-bind
    hwloc-distrib hwloc-diff
    iasl acpidump acpixtract mke2fs e2fsck kmod modprobe insmod rmmod lsmod depmod modinfo
    strace ltrace valgrind perf gdb
    qemu-system-x86_64 qemu-img qemu-io
""".split()

DATA = ["/usr/share/seabios", "/usr/lib/ipxe/qemu", "/usr/share/qemu"]
DATA_SKIP = re.compile(r"/usr/share/qemu/(keymaps|vhost-user|trace-events|hppa|open|skiboot|slof|"
                       r"s390|u-boot|palcode|edk2|firmware|applications|icons|petalogix|.*\.dtb)")
PYTHON_SKIP = re.compile(r"/(config-[^/]*|test|lib2to3|pydoc_data|distutils|idlelib|tkinter|"
                         r"ensurepip|turtledemo|unittest/test)/")


class Layer:
    """Files to put into one image: destination -> source path or ("link", target)."""

    def __init__(self):
        self.items = {}

    def add(self, source, dest=None):
        dest = merged(dest or source)
        self.items.setdefault(dest, source)

    def link(self, dest, target):
        self.items.setdefault(merged(dest), ("link", target))

    def folder(self, source, dest=None, skip=None):
        dest = dest or source
        for at, dirs, files in os.walk(source):
            dirs.sort()
            for name in sorted(files):
                src = os.path.join(at, name)
                if os.path.exists(src) and not (skip and skip.search(src)):
                    self.add(src, dest + src[len(source):])

    def key(self, *extra):
        """A name for what is in the layer; a file that is gone by now is taken out."""
        h = hashlib.sha256(repr(extra).encode())
        for dest in sorted(self.items):
            src = self.items[dest]
            if not isinstance(src, tuple):
                try:
                    st = os.stat(src)
                except FileNotFoundError:
                    del self.items[dest]
                    continue
                src = (src, st.st_size, st.st_mtime_ns, st.st_mode)
            h.update(repr((dest, src)).encode())
        return h.hexdigest()[:16]

    def add_libraries(self, arch=None):
        """Add the shared libraries of every ELF file in the layer, at the paths ldd names.

        For another ARCH than this machine's they come from its root of packages.
        """
        elfs = [s for s in self.items.values() if not isinstance(s, tuple) and is_elf(s)]
        if not elfs:
            return
        if arch and not arch.native():
            for dest, lib in rigroot.libraries(arch, elfs):
                self.add(lib, dest)
            return
        out = subprocess.run(["ldd", *elfs], capture_output=True, text=True).stdout
        for lib in sorted(set(re.findall(r"(/\S+) \(0x", out))):
            self.add(lib)


def library(name):
    """Path of a shared library that a program loads by NAME and ldd does not know of, or None."""
    out = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    found = re.search(rf"^\s*{re.escape(name)} \(.*x86-64.*\) => (\S+)$", out, re.MULTILINE)
    return found and found.group(1)


def merged(path):
    """Debian's merged /usr: /bin/x is /usr/bin/x."""
    return re.sub(r"^/(bin|sbin|lib|lib64)/", r"/usr/\1/", path)


def is_elf(path):
    try:
        with open(path, "rb") as f:
            return f.read(4) == b"\x7fELF"
    except OSError:
        return False


def own_code():
    """Hash of the scripts that decide how images look: a change there makes new images."""
    h = hashlib.sha256()
    for name in ("rigimage.py", "rigcpio.py"):
        with open(os.path.join(HERE, name), "rb") as f:
            h.update(f.read())
    return h.hexdigest()


def image_path(kind, key, suffix):
    """Path of an image and whether it exists; prunes old ones of the same kind otherwise."""
    folder = os.path.join(rigkernel.rig_dir(), "image")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{kind}-{key}{suffix}")
    if os.path.exists(path):
        os.utime(path)
        return path, True
    old = sorted(glob.glob(os.path.join(folder, kind + "-*")), key=os.path.getmtime)
    for stale in old[:-KEEP + 1]:
        os.unlink(stale)
    return path, False


def write_ext4(layer, out):
    size = 0
    with tempfile.TemporaryDirectory(prefix="stage.", dir=os.path.dirname(out)) as stage:
        for dest in sorted(layer.items):
            src, path = layer.items[dest], stage + dest
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if isinstance(src, tuple):
                os.symlink(src[1], path)
            else:
                try:
                    shutil.copy2(src, path)
                except FileNotFoundError:
                    continue  # gone since, as another program's temporary file of the build
                size += os.stat(path).st_size
            size += 4096 + 512
        size = (size * 9 // 8 + (8 << 20)) >> 20
        done = subprocess.run([need("mke2fs", "e2fsprogs"), "-q", "-F", "-t", "ext4", "-m", "0",
                               "-O", "^has_journal", "-I", "256", "-i", "8192",
                               "-E", "root_owner=0:0", "-d", stage, out + ".part", f"{size}M"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            if os.path.exists(out + ".part"):
                os.unlink(out + ".part")
            raise RigError(f"mke2fs cannot make {out}: {done.stderr.strip()}")
        os.rename(out + ".part", out)


def ext4(kind, layer, *extra, libraries=False):
    """Path of the image of LAYER, made if it is not there yet."""
    path, there = image_path(kind, layer.key(own_code(), *extra), ".ext4")
    if not there:
        if libraries:
            layer.add_libraries()
        write_ext4(layer, path)
    return path


# --- the layers --------------------------------------------------------------------------------

def kernel_image(kernel):
    layer = Layer()
    layer.add(kernel.vmlinuz, f"/boot/vmlinuz-{kernel.version}")
    layer.folder(kernel.modules, f"/usr/lib/modules/{kernel.version}")
    return ext4("kernel", layer)


def dpkg_state():
    try:
        return os.stat("/var/lib/dpkg/status").st_mtime_ns
    except OSError:
        return 0


ROOT_SKIP = re.compile(r"^/(etc|var)/|/include/|/share/(doc|man|locale|info|lintian|gcc|perl)|"
                       r"/perl|\.[ah]$")


def add_applets(layer):
    applets = subprocess.run([need("busybox", "busybox-static"), "--list"], capture_output=True,
                             text=True).stdout.split()
    for name in applets:
        if merged(f"/sbin/{name}") not in layer.items:
            layer.link("/usr/bin/" + name, "busybox")
    for name in ("bin", "sbin", "lib", "lib64"):
        layer.items["/" + name] = ("link", "usr/" + name)


def root_image(arch):
    """The root of packages for another architecture, without what only a compiler wants."""
    root, layer = rigroot.root(arch), Layer()
    for at, dirs, files in os.walk(root):
        dirs[:] = sorted(d for d in dirs if not os.path.islink(os.path.join(at, d)))
        for name in sorted(files):
            src = os.path.join(at, name)
            dest = src[len(root):]
            if ROOT_SKIP.search(dest):
                continue
            if os.path.islink(src):
                layer.link(dest, os.readlink(src))
            elif os.path.isfile(src):
                layer.add(src, dest)
    layer.link("/usr/bin/awk", "mawk")
    add_applets(layer)
    return ext4(arch.name + "-root", layer)


def tools_image():
    layer = Layer()
    system = "/usr/bin:/bin:/usr/sbin:/sbin"
    for name in TOOLS:
        found = shutil.which(name, path=system)
        if found:
            layer.add(found)
    python = shutil.which("python3", path=system)
    if python:
        real = os.path.realpath(python)
        layer.add(real)
        if real != python:
            layer.link(python, os.path.basename(real))
        layer.folder("/usr/lib/" + os.path.basename(real), skip=PYTHON_SKIP)
    for data in DATA:
        layer.folder(data, skip=DATA_SKIP)
    layer.link("/usr/bin/lstopo", "lstopo-no-graphics")
    add_applets(layer)
    return ext4("tools", layer, dpkg_state(), libraries=True)


def extra_image(names):
    """A layer with programs named by --with, found in PATH."""
    layer = Layer()
    for name in names:
        found = program(name)
        if not found:
            raise RigError(f"--with {name}: no such program in PATH")
        layer.add(os.path.abspath(found), None if found.startswith(("/usr/", "/bin/", "/sbin/"))
                  else "/usr/local/bin/" + os.path.basename(found))
    return ext4("extra", layer, dpkg_state(), libraries=True)


LOADED = ("libslirp.so.0",)  # by build/numavisor, not linked
TREE_SKIP = {".git", "__pycache__"}  # .git is a file in a linked work tree
BUILD_SKIP_DIRS = {"obj", "rig", "check", "san", "tsan", "clang", "fuzz", "bench", *rigarch.ARCHES}
BUILD_SKIP = re.compile(r"\.(o|a|d|tap|err|sum)$")


def tree_image(arch):
    """This tree at /numavisor, without .git and without objects and archives of the build.

    Of what is built only ARCH's part: a build for another architecture lies within this one's.
    """
    root, build, layer = rigkernel.tree_root(), rigkernel.build_dir(arch), Layer()
    for at, dirs, files in os.walk(root):
        inside_build = at == build or at.startswith(build + os.sep)
        skip = TREE_SKIP | (BUILD_SKIP_DIRS if at == build else set())
        dirs[:] = sorted(d for d in dirs if d not in skip)
        if at == root:  # other build folders than the chosen one are no part of the tree
            dirs[:] = [d for d in dirs if d != "build" or build.startswith(
                os.path.join(root, "build"))]
        elif at == os.path.dirname(build):
            dirs[:], files = [os.path.basename(build)], []
        for name in sorted(files):
            src = os.path.join(at, name)
            if name in TREE_SKIP or not os.path.isfile(src):
                continue
            if not (inside_build and BUILD_SKIP.search(name)):
                layer.add(src, "/numavisor" + src[len(root):])
    if not arch.native():  # libraries are in the root of packages
        return ext4(arch.name + "-tree", layer)
    for lib in filter(None, map(library, LOADED)):
        layer.add(lib)
    return ext4("tree", layer, dpkg_state(), libraries=True)


def own_image():
    """What of the tree a host needs itself: these scripts, where the tree has them."""
    layer = Layer()
    layer.folder(HERE, "/numavisor" + HERE[len(rigkernel.tree_root()):],
                 skip=re.compile("__pycache__"))
    return ext4("own", layer)


def module_order(modules, names):
    """Files (relative to MODULES) to load for NAMES, dependencies first. Built-ins vanish."""
    deps = {}
    with open(os.path.join(modules, "modules.dep"), encoding="ascii") as f:
        for line in f:
            target, _, needs = line.partition(":")
            deps[target] = needs.split()
    by_name = {re.sub(r"\.ko(\.\w+)?$", "", os.path.basename(p)).replace("-", "_"): p
               for p in deps}
    with open(os.path.join(modules, "modules.builtin"), encoding="ascii") as f:
        builtin = {os.path.basename(line.strip())[:-3].replace("-", "_") for line in f}
    order = []
    for name in names:
        name = name.replace("-", "_")
        if name in by_name:
            # modules.dep lists the nearest dependency first; insmod wants the farthest first.
            for path in reversed([by_name[name], *deps[by_name[name]]]):
                if path not in order:
                    order.append(path)
        elif name not in builtin:
            raise RigError(f"the kernel of {modules} has no module {name}")
    return order


def initramfs(kernel, arch):
    busybox = (need("busybox", "busybox-static") if arch.native()
               else os.path.join(rigroot.root(arch), "bin", "busybox"))
    if dynamic(busybox):
        raise RigError(f"{busybox} is not static; install the Debian package busybox-static")
    order = module_order(kernel.modules, BOOT_MODULES + arch.kvm_modules)
    layer = Layer()
    for path in order:
        layer.add(os.path.join(kernel.modules, path))
    for path in (busybox, os.path.join(HERE, "init"), os.path.join(HERE, "agent")):
        layer.add(path)
    out, there = image_path("init", layer.key(own_code()), ".cpio.zst")
    if there:
        return out
    need("zstd", "zstd")
    c = Cpio()
    for name in ("proc", "sys", "dev", "layers", "root"):
        c.folder(name)
    c.node("dev/console", 5, 1)
    c.node("dev/null", 1, 3)
    c.file("bin/busybox", busybox)
    c.link("bin/sh", "busybox")
    c.file("init", os.path.join(HERE, "init"))
    c.file("agent", os.path.join(HERE, "agent"))
    for path in order:
        c.file("modules/" + os.path.basename(path), os.path.join(kernel.modules, path))
    c.data("modules/order", "".join(os.path.basename(p) + "\n" for p in order).encode())
    c.write(out)
    return out


def dynamic(path):
    """Whether an ELF file asks for a program interpreter."""
    with open(path, "rb") as f:
        return b"/ld-linux" in f.read(8192)
