"""Runs inside a test machine, as root: one JSON request a line on a virtio port, one JSON answer a line.

A shell over SSH costs seconds per command in an emulated machine, this costs the command itself. Requests are worked on at
the same time, so that one which waits does not hold up the others. It needs nothing beyond Python's standard library.
"""

import base64
import glob
import json
import os
import subprocess
import threading

PORT = "rota.agent"


def work(request):
    """Run `argv`, or write a file; return the fields of the answer."""
    stdin = base64.b64decode(request.get("stdin", ""))
    try:
        done = subprocess.run(request["argv"], input=stdin, capture_output=True, timeout=request["timeout"])
    except subprocess.TimeoutExpired as late:
        return {"code": 124, "out": _text(late.stdout), "err": f"not done after {request['timeout']} s"}
    except OSError as problem:
        return {"code": 127, "out": "", "err": str(problem)}
    return {"code": done.returncode, "out": _text(done.stdout), "err": _text(done.stderr)}


def _text(raw):
    return base64.b64encode(raw or b"").decode()


def find(name):
    """Return the device of the virtio port called `name`; it may be there before udev has made a link to it."""
    while True:
        for folder in glob.glob("/sys/class/virtio-ports/*"):
            with open(folder + "/name") as file:
                if file.read().strip() == name:
                    return "/dev/" + os.path.basename(folder)
        threading.Event().wait(0.1)


def main():
    """Serve until the machine stops."""
    port = os.open(find(PORT), os.O_RDWR)
    lock = threading.Lock()

    def serve(request):
        answer = (json.dumps({"id": request["id"], **work(request)}) + "\n").encode()
        with lock:
            while answer:
                answer = answer[os.write(port, answer) :]

    held = b""
    while True:
        chunk = os.read(port, 65536)
        if not chunk:  # nobody has opened the other end
            threading.Event().wait(0.05)
            continue
        *lines, held = (held + chunk).split(b"\n")
        for line in filter(None, lines):
            threading.Thread(target=serve, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    main()
