# SPDX-License-Identifier: Apache-2.0
"""What a guest of the corpus serves: its servers are started, "@@ cold" is said, then they are asked
for much, and "@@ ready" is said. Role and seed come with the kernel's command line.
"""
import glob
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import time

WORDS = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
SEED, SCALE = int(WORDS["nv_seed"]), int(WORDS["nv_mib"]) // 512
DEEP = 1 + SCALE // 4  # a large guest has more data for its memory: what its system takes is the same
DICE = random.Random(SEED)
PATIENCE_S = 300
TREES = ("/usr/share/doc", "/usr/share/perl", "/usr/lib/python3", "/usr/lib/ruby")
NGINX = """server { listen 127.0.0.1:80; root /usr; autoindex on; access_log /var/log/nginx/access.log;
location /app { proxy_pass http://127.0.0.1:8000; } }"""
APACHE = """Listen 127.0.0.1:80\nServerName localhost\nDocumentRoot /usr
<Directory /usr>\nRequire all granted\nOptions Indexes FollowSymLinks\n</Directory>"""
HAPROXY = """global\n maxconn 100\ndefaults\n mode http\n timeout connect 60s\n timeout client 60s
 timeout server 60s\nfrontend all\n bind 127.0.0.1:81\n default_backend web
backend web\n server one 127.0.0.1:80"""


def run(*argv, user=None, text=None):
    done = subprocess.run(argv, input=text, text=True, stdout=subprocess.PIPE, check=False, cwd="/",
                          stderr=subprocess.STDOUT, user=user, group=user)
    if done.returncode != 0:
        raise RuntimeError(f"{argv}: {done.stdout[-2000:]}")
    return done.stdout


def background(name, *argv):
    with open(f"/var/log/{name}.log", "wb") as log:
        subprocess.Popen(argv, stdout=log, stderr=log)


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def connect(port):
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def files(trees, below):
    """What there is to read in files of less than BELOW bytes, in an order of this guest's own."""
    found = [os.path.join(at, name) for top in trees for at, _, names in os.walk(top)
             for name in names]
    found = sorted(path for path in found if os.path.isfile(path) and os.path.getsize(path) < below)
    DICE.shuffle(found)
    return found


def lines():
    """Lines of text without end."""
    while True:
        for path in FILES:
            with open(path, encoding="latin-1") as f:
                text = f.read(20000)
            if "\0" not in text:
                yield from filter(None, map(str.strip, text.splitlines()))


def record(number):
    return {"id": number, "customer": DICE.randrange(10000), "price": round(DICE.random() * 100, 2),
            "at": 1700000000 + DICE.randrange(10 ** 7), "tags": [next(LINES)[:60] for _ in range(3)],
            "note": next(LINES)[:400]}


def get(port, paths, head=""):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    for path in paths:
        link.request("GET", head + path)
        link.getresponse().read()


def pipelined(port, requests, ends):
    """Send what REQUESTS yields in batches, and wait for as many answers, which ENDS counts."""
    link, batch = connect(port), []
    for request in [*requests, None]:
        if request is not None:
            batch.append(request)
        if batch and (request is None or len(batch) == 200):
            link.sendall(b"".join(batch))
            said = b""
            while ends(said) < len(batch):
                data = link.recv(1 << 16)
                if not data:
                    raise RuntimeError(f"port {port} hung up after {said[-100:]!r}")
                said += data
            batch = []


class Web:
    """nginx, in front of an application on Django."""

    def start(self):
        write("/etc/nginx/conf.d/corpus.conf", NGINX)
        run("systemctl", "start", "nginx")
        background("app", sys.executable, "/corpus/app.py")
        for port in (8000, 80):
            connect(port).close()
        get(80, ["/app/0"])

    def work(self):
        get(80, [path[4:] for path in FILES[:250 * SCALE]])
        get(80, [f"/app/{DICE.randrange(100000)}" for _ in range(100 * SCALE)])


class Postgres:
    def start(self):
        bin_dir = glob.glob("/usr/lib/postgresql/*/bin")[0]
        data = "/var/lib/postgresql/data"
        run(f"{bin_dir}/initdb", "-D", data, "--no-sync", user="postgres")
        os.makedirs("/run/postgresql", exist_ok=True)
        run("chown", "postgres:postgres", "/run/postgresql")
        run(f"{bin_dir}/pg_ctl", "-D", data, "-l", data + "/log", "-w", "-t", str(PATIENCE_S),
            "start", user="postgres")
        self.bench = [f"{bin_dir}/pgbench", "-n"]

    def work(self):
        rows = "".join("\t".join((str(i), str(DICE.randrange(1000)), f"{DICE.random():.4f}",
                                  next(LINES).replace("\\", "").replace("\t", " ")[:200])) + "\n"
                       for i in range(8000 * SCALE * DEEP))
        write("/tmp/rows", rows)
        run("psql", "-q", "-v", "ON_ERROR_STOP=1", user="postgres", text=(
            "create table sale (id int primary key, customer int, price float, item text);\n"
            "\\copy sale from /tmp/rows\ncreate index by_customer on sale (customer);\nanalyze;\n"
            "select customer, sum(price) from sale group by 1 order by 2 desc limit 10;\n"))
        run(*self.bench[:1], "-i", "-q", "-s", str(SCALE * DEEP), user="postgres")
        run(*self.bench, "-c", "4", "-t", str(25 * SCALE), f"--random-seed={SEED}", user="postgres")


class Caches:
    """redis with documents and lists, memcached with pages."""

    def start(self):
        write("/etc/memcached.conf", f"-m {64 * SCALE}\n-p 11211\n-u memcache\n-l 127.0.0.1\n-I 1m\n")
        run("systemctl", "start", "redis-server", "memcached")
        connect(6379).close()
        connect(11211).close()

    def work(self):
        def resp(*words):
            words = [word.encode() for word in words]
            return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)

        def redis():
            for i in range(7000 * SCALE):
                kind = i % 3
                text = json.dumps(record(i))
                yield (resp("SET", f"doc:{i}", text) if kind == 0 else
                       resp("HSET", f"user:{i // 9}", f"field{i % 9}", text[:200]) if kind == 1 else
                       resp("LPUSH", f"queue:{i % 50}", text[:300]))

        def memcached():
            for i in range(2500 * SCALE):
                page = "\n".join(next(LINES) for _ in range(DICE.randrange(5, 80))).encode()
                yield b"set page:%d 0 0 %d\r\n%s\r\n" % (i, len(page), page)

        pipelined(6379, redis(), lambda said: said.count(b"\r\n"))
        pipelined(11211, memcached(), lambda said: said.count(b"STORED\r\n"))


class Apache:
    """Apache behind HAProxy, and an application on Ruby's server."""

    def start(self):
        write("/etc/apache2/sites-enabled/corpus.conf", APACHE)
        write("/etc/apache2/ports.conf", "\n")
        os.makedirs("/var/log/apache2", exist_ok=True)
        write("/etc/haproxy/haproxy.cfg", HAPROXY + "\n")
        run("systemctl", "start", "apache2", "haproxy")
        background("app", "ruby", "/corpus/app.rb")
        for port in (8000, 80, 81):
            connect(port).close()
        get(81, ["/share/"])

    def work(self):
        get(81, [path[4:] for path in FILES[:250 * SCALE]])
        get(8000, [f"/app/{DICE.randrange(100000)}" for _ in range(100 * SCALE)])


class Maria:
    def start(self):
        os.makedirs("/run/mysqld", exist_ok=True)
        run("chown", "mysql:mysql", "/run/mysqld")
        run("mariadb-install-db", "--user=mysql", "--skip-test-db", "--skip-name-resolve")
        run("systemctl", "start", "mariadb")

    def work(self):
        rows = (f"({i}, {DICE.randrange(1000)}, {DICE.random():.4f}, "
                f"'{''.join(c for c in next(LINES)[:200] if c.isalnum() or c in ' .,-')}')"
                for i in range(8000 * SCALE * DEEP))
        insert = [f"insert into sale values {', '.join(some)};\n"
                  for some in zip(*[rows] * 250)]
        run("mariadb", text="create database shop; use shop;\ncreate table sale (id int primary key, "
            "customer int, price double, item varchar(200), key (customer));\n" + "".join(insert) +
            "select customer, sum(price) from sale group by 1 order by 2 desc limit 10;\n")


ROLES = {"web": [Web], "sql": [Postgres], "caches": [Caches], "all": [Web, Postgres, Caches],
         "apache": [Apache], "maria": [Maria], "both": [Apache, Maria]}
try:
    FILES = files(TREES, 1 << 20)
    LINES = lines()
    servers = [kind() for kind in ROLES[WORDS["nv_role"]]]
    for server in servers:
        server.start()
    print("@@ cold", flush=True)
    time.sleep(5)
    for server in servers:
        server.work()
    for path in FILES[:2500 * SCALE] + (files(("/usr",), 1 << 30) if SCALE > 1 else []):
        with open(path, "rb") as f:  # as what is saved every night is read
            f.read()
    print("@@ ready", flush=True)
except Exception as e:  # whoever waits at the console has to hear of it
    print(f"@@ failed: {e!r}", flush=True)
time.sleep(1000)
