# syntax=docker/dockerfile:1
# A virtual environment that training and serving share; the token never reaches a layer.
FROM python:3.11-slim AS base
ENV VIRTUAL_ENV=/opt/venv
ENV PATH="$VIRTUAL_ENV/bin:$PATH"

FROM base AS deps
RUN python -m venv $VIRTUAL_ENV
RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    --mount=type=bind,source=requirements.txt,target=/tmp/requirements.txt \
    pip install -r /tmp/requirements.txt

FROM deps AS train
WORKDIR /src
COPY train.py .
ARG SEED=0
RUN --mount=type=secret,id=hub_token,env=HUB_TOKEN \
    python train.py --seed ${SEED} --out /model/weights.json

FROM base AS test
COPY --from=train /model /model
RUN python -c "import json; assert json.load(open('/model/weights.json'))['seed'] is not None"

FROM base AS serve
COPY --link --from=deps /opt/venv /opt/venv
COPY --link --from=train --chmod=0444 /model /model
WORKDIR /srv
USER nobody
CMD ["python", "-c", "import json, tinymodel; print(tinymodel.NAME, json.load(open('/model/weights.json'))['seed'])"]
