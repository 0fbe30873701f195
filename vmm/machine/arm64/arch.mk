# SPDX-License-Identifier: Apache-2.0
#
# What the build knows of this architecture: its name for the kernel, for compilers and for
# libseccomp, and Debian's packages to build for it and to emulate it.

arm64_UNAME    := aarch64
arm64_PACKAGES := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm
