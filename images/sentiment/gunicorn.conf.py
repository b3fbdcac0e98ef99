"""How gunicorn serves the model: it reads this file by itself, as its default configuration.

Two listeners: TCP for people, and a Unix socket where the container was given one, because a
proxy on the same host reaches that without ports, NAT or a network namespace of its own.

See: https://docs.gunicorn.org/en/stable/settings.html. Next, read serve.py.
"""

from __future__ import annotations

import os

_socket_path = os.environ.get("MINIRUN_SOCKET") or os.environ.get("UNIX_SOCKET")

bind = [f"0.0.0.0:{os.environ.get('PORT', '8080')}"]
if _socket_path:
    bind.append(f"unix:{_socket_path}")

# One process holds one copy of the model, and its threads share it. More throughput is another
# container, which the scheduler can count, place and stop; a hidden second worker it cannot.
workers = 1
worker_class = "gthread"
threads = int(os.environ.get("THREADS", "4"))

# Load the model before the port opens. A client that can connect can then predict, and a model
# that fails to load ends the container instead of restarting a worker for ever.
preload_app = True

# The root filesystem is read-only: the heartbeat file goes to memory, the control socket nowhere.
worker_tmp_dir = "/dev/shm"
control_socket_disable = True

# SIGTERM: stop accepting, finish what runs, leave. Docker kills after 10 s, so be done by then.
graceful_timeout = 8
# Outlive the proxy's idle connections, or it will send a request into one we are closing.
keepalive = 75
