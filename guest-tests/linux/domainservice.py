# SPDX-License-Identifier: Apache-2.0
"""The service that machines of a trust domain share pages by, while a case runs."""
import os
import signal
import subprocess

import guestvm


class Service:
    """numavisord, in the foreground."""

    def __enter__(self):
        self.child = subprocess.Popen([os.path.join(guestvm.BUILD, "numavisord"), "--foreground"],
                                      stdout=subprocess.PIPE, text=True)
        self.child.stdout.readline()
        return self

    def __exit__(self, *_):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()
        self.child.stdout.close()

    def tell(self):
        """What it says of its groups, by lines."""
        lines = []
        self.child.send_signal(signal.SIGUSR1)
        while not lines or " groups of stores" not in lines[-1]:
            lines.append(self.child.stdout.readline().strip())
        return lines
