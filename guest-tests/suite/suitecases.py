# SPDX-License-Identifier: Apache-2.0
"""`numavisor suite` with real images: what passes, what does not, what is said.

IMAGES, suitex86 or suitearm64, makes the images and knows those tests that are its own.
"""
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import xml.etree.ElementTree

BUILD = os.environ.get("BUILD", "build")
PROGRAM = os.path.abspath(os.path.join(BUILD, "numavisor"))
BARE = os.path.abspath(os.path.join(BUILD, "guest-tests/bare"))
PATIENCE = 240
TESTS = {  # of images that all architectures have: manifest and what TAP is to say
    "fall": ({"expect": "reset"}, "ok"),
    "falls": ({"kernel": "fall"}, "not ok"),
    "broken": ({"kernel": "late"}, "not ok"),
    "spin": ({"timeout": 2}, "not ok"),
    "flood": ({"timeout": 2}, "not ok"),
    "later": ({"kernel": "spin", "skip": "takes for ever"}, "skip"),
}


def fill(folder, images):
    """The tests, and what TAP is to say of each."""
    images.make(folder, BARE)
    for name, what in (("late", images.BROKEN), ("README.txt", b"No image.\n")):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(what)
    tests = {**TESTS, **images.TESTS}
    for name, (manifest, _verdict) in tests.items():
        with open(os.path.join(folder, name + ".json"), "w", encoding="ascii") as f:
            json.dump(manifest, f)
    return {**{name: verdict for name, (_manifest, verdict) in tests.items()}, "exit": "ok"}


def suite(*words):
    return subprocess.run([PROGRAM, "suite", *words], capture_output=True, text=True,
                          timeout=PATIENCE, check=False)


def verdicts(text):
    found = {}
    for m in re.finditer(r"^(ok|not ok) (\d+) - (\S+) # (.*)$", text, re.M):
        found[m[3]] = "skip" if m[4].startswith("SKIP") else m[1]
    return found


def whole(tap, folder, images):
    want = fill(folder, images)
    junit = os.path.join(folder, "junit.xml")
    done = suite("--jobs", "2", "--timeout", "60", "--junit", junit, folder)
    tap.same(verdicts(done.stdout), want, "every test has its verdict")
    tap.same(done.returncode, 1, "a failure is told by the exit status")
    tap.same(done.stderr, "", "nothing is said but TAP")
    lines = done.stdout.splitlines()
    tap.same(lines[:2], ["TAP version 13", f"1..{len(want)}"], "TAP begins with the plan")
    tap.same([m[1] for m in map(re.compile(r"(?:not )?ok (\d+)").match, lines) if m],
             [str(i + 1) for i in range(len(want))], "points are in order")
    for said in ("# the guest ended with code 3, not with code 0",
                 "# the guest ended with a code above 91, not with code 0",
                 "# the guest ended by a reset, not with code 0",
                 "# its time was over after 2 seconds", images.SAYS,
                 "# the machine did not start or go on (status 1)",
                 f"# {list(want.values()).count('ok')} passed, "
                 f"{list(want.values()).count('not ok')} failed, 1 skipped"):
        tap.point(said in lines, f"it says: {said}", done.stdout)
    root = xml.etree.ElementTree.parse(junit).getroot().find("testsuite")
    tap.same((int(root.get("tests")), int(root.get("failures")), int(root.get("errors")),
              int(root.get("skipped"))),
             (len(want), list(want.values()).count("not ok") - 1, 1, 1),
             "JUnit's XML counts the same")
    flood = [t for t in root.findall("testcase") if t.get("name") == "flood"][0]
    tap.point(0 < len(flood.find("system-out").text) <= 65536,
              "of what floods no more than 64 KiB are kept", len(flood.find("system-out").text))


def only(tap, folder, _images):
    done = suite("--only", "[fe]*[lt]", "--jobs", "1", folder)
    tap.same((verdicts(done.stdout), done.returncode), ({"exit": "ok", "fall": "ok"}, 0),
             "--only takes those that match, and all of them passed")
    done = suite("--only", "spin", "--timeout", "1", folder)
    tap.point("# its time was over after 2 seconds" in done.stdout.splitlines(),
              "a manifest's time limit holds", done.stdout)
    done = suite("--only", "nothing", folder)
    tap.same((done.returncode, done.stdout, done.stderr),
             (2, "", f"numavisor: no test of {folder} is called nothing\n"), "--only nothing")


def refused(tap, folder, images):
    path = os.path.join(folder, "bad.json")
    for text, why in (('{"kernel": "exit", "cpu": 1}', "bad.json: "),
                      ('{"kernel": "exit", "cpus": 0}', "bad.json: "),
                      ('{"kernel": "exit", "expect": 92}', "bad.json: expect: 0 to 91"),
                      ('{"kernel": "none"}', f"bad.json: there is no {images.KIND} none"),
                      ('{', "bad.json: line 1: ")):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        done = suite(folder)
        tap.point(done.returncode == 2 and done.stdout == "" and why in done.stderr and
                  done.stderr.count("\n") == 1, f"refused with a sentence: {text}",
                  done.stdout + done.stderr)
    os.unlink(path)
    for words, why in ((["--jobs", "0", folder], "--jobs: 1 to 256 is wanted, not \"0\""),
                       (["--timeout", "x", folder], "--timeout: 1 to 86400 is wanted, not \"x\""),
                       (["/nowhere"], "/nowhere: No such file or directory"),
                       (["--junit", "/nowhere/j.xml", folder], "--junit: /nowhere/j.xml: ")):
        done = suite(*words)
        tap.point(done.returncode == 2 and done.stdout == "" and why in done.stderr,
                  f"refused: {why}", done.stdout + done.stderr)


def stopped(tap, folder, _images):
    """Ctrl-C while a test runs: nothing is left of it."""
    with subprocess.Popen([PROGRAM, "suite", "--only", "spin", folder], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as child:
        name = f"suite-{child.pid}-0"
        end = time.monotonic() + PATIENCE
        while subprocess.run([PROGRAM, "ctl", name, "status"], capture_output=True,
                             check=False).returncode != 0 and time.monotonic() < end:
            time.sleep(0.05)
            if child.poll() is not None:
                break
        child.send_signal(signal.SIGINT)
        out = child.communicate(timeout=PATIENCE)[0]
    # The test's own limit of two seconds may have been first.
    tap.point(child.returncode in (1, 4), "a signal ends the suite", child.returncode)
    tap.point(child.returncode == 1 or "Bail out! stopped by a signal" in out, "and is told", out)
    left = subprocess.run([PROGRAM, "ctl", name, "status"], capture_output=True, check=False)
    tap.point(left.returncode != 0, "its machine is gone", left.stdout)


def run(tap, images):
    with tempfile.TemporaryDirectory() as folder:
        for part in (whole, only, refused, stopped):
            part(tap, folder, images)
