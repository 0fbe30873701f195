# SPDX-License-Identifier: Apache-2.0
#
# What the build knows of this architecture: its name for the kernel, for compilers and for
# libseccomp, and Debian's packages to build for it and to emulate it.

x86_UNAME    := x86_64
x86_PACKAGES := qemu-system-x86
