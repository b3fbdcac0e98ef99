# syntax=docker/dockerfile:1
# Files and scripts written in place, as newer repositories have it.
FROM python:3.11-slim

RUN <<EOT
set -eu
mkdir -p /app /var/log/app
for name in a b c; do
    echo "model-$name" >> /app/models.txt
done
EOT

RUN <<PYTHON
#!/usr/bin/env python3
import pathlib
lines = pathlib.Path("/app/models.txt").read_text().split()
pathlib.Path("/app/count").write_text(str(len(lines)))
PYTHON

ENV GREETING="hello there"
COPY --chmod=755 <<"EOT" /usr/local/bin/start.sh
#!/bin/sh
# Expanded when it runs, not when it is built.
echo "$GREETING, $(cat /app/count) models"
exec "$@"
EOT
COPY <<config.toml <<settings.ini /app/
greeting = "${GREETING}"
config.toml
[app]
path = $PATH
settings.ini

SHELL ["/bin/sh", "-eu", "-c"]
ENTRYPOINT ["start.sh"]
CMD ["cat", "/app/config.toml"]
