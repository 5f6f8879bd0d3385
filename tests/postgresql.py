"""A PostgreSQL server of the tests' own: started as an ordinary user, on loopback, gone afterwards."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path

ORDINARY = "nobody"


@contextmanager
def server(programs):
    """A new server from the folder `programs`; yields a function that makes a database and gives its URL."""
    place = Path(tempfile.mkdtemp(prefix="svmlib-pg-"))
    user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        user = {"user": ORDINARY, "group": pwd.getpwnam(ORDINARY).pw_gid, "extra_groups": []}
        shutil.chown(place, ORDINARY)
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    quiet = {"cwd": place, "env": os.environ | {"LC_ALL": "C", "HOME": str(place)}} | user
    data = place / "data"
    made = [Path(programs) / "initdb", "-D", data, "-U", "teacher", "-A", "trust", "-N", "-E", "UTF8"]
    subprocess.run(made, check=True, capture_output=True, **quiet)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": place,
        "fsync": "off",
        "max_connections": 40,
    }
    command = [Path(programs) / "postgres", "-D", data]
    command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (place / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, **quiet)
    try:
        base = f"postgresql+psycopg://teacher@127.0.0.1:{port}"
        _wait(base, process, place / "log")

        def database(name):
            import sqlalchemy

            engine = sqlalchemy.create_engine(f"{base}/postgres", isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text(f'CREATE DATABASE "{name}"'))
            engine.dispose()
            return f"{base}/{name}"

        yield database
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(place, ignore_errors=True)


def _wait(base, process, log):
    import sqlalchemy

    for _ in range(200):
        assert process.poll() is None, log.read_text()
        engine = sqlalchemy.create_engine(f"{base}/postgres", poolclass=sqlalchemy.NullPool)
        try:
            with engine.connect():
                return
        except sqlalchemy.exc.OperationalError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())
