# Packages of the distribution, a user of its own, an init.
FROM debian:bookworm-slim
ARG DEBIAN_FRONTEND=noninteractive
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
    && apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 999 app \
    && useradd --system --uid 999 --gid app --create-home --shell /usr/sbin/nologin app
USER app
WORKDIR /home/app
COPY --chown=app:app app ./app
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["sh", "-c", "id -un; stat -c %U app/__main__.py"]
