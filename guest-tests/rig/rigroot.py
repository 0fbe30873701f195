# SPDX-License-Identifier: Apache-2.0
"""Fetch Debian packages of another architecture, or another release, into a root of their own.

apt keeps lists, archives and its belief of what is installed (nothing) below build/rig/ARCH/apt,
and packages are unpacked, never installed: this machine's own packages know nothing of it, and
nothing here needs root. The root serves twice: programs and libraries for the emulated host,
headers and libraries for a cross build (SYSROOT in the Makefile). Another release (Arch.of) comes
from where this machine's own packages come from.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import time

import rigkernel
from rigkernel import RigError, need

BUILD = """libc6-dev libhwloc-dev libjansson-dev liburing-dev libslirp-dev libseccomp-dev
    libcap-ng-dev liblz4-dev libzstd-dev libxxhash-dev libfdt-dev zlib1g-dev libsodium-dev
    libcmocka-dev""".split()
RUN = """busybox-static bash coreutils util-linux procps grep sed mawk findutils diffutils numactl
    hwloc-nox python3-minimal libpython3-stdlib kmod iproute2 jq socat cpio zstd
    libglib2.0-0""".split()
# Without what they need: of this one the file server of a lab, not QEMU's other programs.
ALONE = ["qemu-system-common"]
LISTS_AGE = 24 * 3600  # seconds after which lists of packages are fetched anew
ROLLING = ("sid", "experimental")  # without updates beside
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"  # all releases' keys
PATIENCE = 900  # seconds for one run of apt-get
TRIES = 2  # a mirror may change between the lists and the packages


def folder(arch):
    path = os.path.join(rigkernel.rig_dir(), arch.name)
    os.makedirs(path, exist_ok=True)
    return path


def own_suite():
    """The release that this machine runs."""
    try:
        with open("/etc/os-release", encoding="utf-8") as f:
            return dict(line.strip().split("=", 1) for line in f if "=" in line)["VERSION_CODENAME"]
    except (OSError, KeyError):
        raise RigError("/etc/os-release does not name a release of Debian's") from None


def sources(suite):
    """Lines for apt: where this machine's packages come from, of the release SUITE."""
    mine = own_suite()
    said = subprocess.run([need("apt-get", "apt"), "indextargets", "--format",
                           "$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)"],
                          capture_output=True, text=True, check=True).stdout
    signed = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
    out = set()
    for line in said.splitlines():
        by, uri, release, component = (line.split(" ") + [""] * 4)[:4]
        pocket = release[len(mine):]
        if (by == "Packages" and re.match(rf"{mine}(-|$)", release)
                and not (pocket and suite in ROLLING)):
            out.add(f"deb {signed}{uri} {suite}{pocket} {component}\n")
    if not out:
        raise RigError(f"apt has no sources of {mine} to find {suite} by")
    return "".join(sorted(out))


def options(arch):
    """For apt-get and apt-cache: everything in our folder, sources and keys as this machine's."""
    apt = os.path.join(folder(arch), "apt")
    for name in ("lists/partial", "cache/archives/partial", "state"):
        os.makedirs(os.path.join(apt, name), exist_ok=True)
    with open(os.path.join(apt, "state", "status"), "a", encoding="ascii"):
        pass
    settings = {"APT::Architecture": arch.deb, "APT::Architectures": arch.deb,
                "Dir::State": apt + "/state", "Dir::State::status": apt + "/state/status",
                "Dir::State::lists": apt + "/lists", "Dir::Cache": apt + "/cache",
                "Dir::Log": apt, "APT::Sandbox::User": "", "Debug::NoLocking": "1"}
    if arch.suite:
        settings.update({"Dir::Etc::sourcelist": apt + "/sources.list",
                         "Dir::Etc::sourceparts": apt + "/no.parts",
                         "Dir::Etc::preferencesparts": apt + "/no.parts"})
        if not os.path.exists(apt + "/sources.list"):
            text = sources(arch.suite)
            with open(apt + "/sources.list", "w", encoding="ascii") as f:
                f.write(text)
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def apt_get(arch, *words, at=None):
    try:
        done = subprocess.run([need("apt-get", "apt"), *options(arch), "-q", "-y", *words],
                              text=True, capture_output=True, timeout=PATIENCE, check=False,
                              cwd=at)
    except subprocess.TimeoutExpired:
        raise RigError(f"apt-get {words[0]} for {arch.deb} did not end in {PATIENCE} s") from None
    if done.returncode != 0:
        raise RigError(f"apt-get {words[0]} for {arch.deb} failed: " + done.stderr.strip()[-500:])


def refresh(arch, age=LISTS_AGE):
    """Have lists of packages that are not older than AGE."""
    stamp = os.path.join(folder(arch), "apt", "updated")
    if not os.path.exists(stamp) or time.time() - os.path.getmtime(stamp) > age:
        apt_get(arch, "update")
        with open(stamp, "w", encoding="ascii"):
            pass


def download(arch, packages, alone):
    """Fetch PACKAGES with what they depend on, and those that are to come ALONE; returns the folder
    of archives."""
    archives = os.path.join(folder(arch), "apt", "cache", "archives")
    for i in range(TRIES):
        refresh(arch, LISTS_AGE if i == 0 else 0)
        try:
            apt_get(arch, "install", "--download-only", "--no-install-recommends", *packages)
            if alone:
                apt_get(arch, "download", *alone, at=archives)
            break
        except RigError:
            if i == TRIES - 1:
                raise
    return archives


def unpack(debs, into):
    """As dpkg -x, but a link where a package has a folder stays."""
    for deb in debs:
        with subprocess.Popen([need("dpkg-deb", "dpkg"), "--fsys-tarfile", deb],
                              stdout=subprocess.PIPE) as packed:
            subprocess.run([need("tar", "tar"), "-xp", "--keep-directory-symlink", "-C", into],
                           stdin=packed.stdout, check=True)
        if packed.returncode != 0:
            raise RigError(f"{deb} cannot be unpacked")


def is_made(listed, wanted):
    try:
        with open(listed, encoding="ascii") as f:
            return f.read() == wanted
    except FileNotFoundError:
        return False


def found_in(places, name):
    """Path of the library NAME in one of the folders PLACES, or None."""
    return next((p for p in (os.path.join(at, name) for at in places) if os.path.exists(p)), None)


def program(arch, name):
    """Path of the program NAME in the root of packages, or None."""
    return found_in([os.path.join(root(arch), at) for at in ("usr/bin", "bin", "usr/sbin", "sbin")],
                    name)


def libraries(arch, elfs, tree=None):
    """(place inside, path) of what the programs and libraries ELFS need, and what that needs; from
    the root TREE when it is not the usual one."""
    tree, out, left = tree or root(arch), {}, list(elfs)
    places = [os.path.join(tree, at, f"{arch.uname}-linux-gnu") for at in ("lib", "usr/lib")]
    places.append(os.path.join(tree, "lib"))  # the loader
    while left:
        said = subprocess.run([need("readelf", "binutils"), "-Wd", left.pop()], check=True,
                              capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
        for name in re.findall(r"\(NEEDED\).*\[(.*)\]", said.stdout):
            path = found_in(places, name)
            if not path:
                raise RigError(f"the {arch.deb} packages have no {name}")
            if path[len(tree):] not in out:
                out[path[len(tree):]] = path
                left.append(path)
    loader = glob.glob(os.path.join(tree, "lib", "ld-linux*"))
    return [*out.items(), *((p[len(tree):], p) for p in loader)]


def root(arch, name="root", packages=tuple(BUILD + RUN)):
    """The folder of a root, made when it is not there or lacks a package of the list; the one of the
    lists above when nothing else is named."""
    final = os.path.join(folder(arch), name)
    listed = os.path.join(folder(arch), "packages" if name == "root" else name + ".packages")
    alone = ALONE if name == "root" else []
    wanted = " ".join([*packages, *alone]) + "\n"
    if is_made(listed, wanted):
        return final
    with rigkernel.locked():
        if is_made(listed, wanted):
            return final
        kind = f"{arch.suite} {arch.deb}" if arch.suite else arch.deb
        print(f"rig: fetching a root of {kind} packages", file=sys.stderr)
        archives = download(arch, packages, alone)
        tree = final + ".new"
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(tree)
        if arch.suite:  # as installed systems have it
            for at in ("bin", "sbin", "lib", "lib64"):
                os.makedirs(os.path.join(tree, "usr", at))
                os.symlink("usr/" + at, os.path.join(tree, at))
        unpack(sorted(glob.glob(os.path.join(archives, "*.deb"))), tree)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(tree, final)
        shutil.rmtree(archives, ignore_errors=True)
        with open(listed, "w", encoding="ascii") as f:
            f.write(wanted)
    return final
