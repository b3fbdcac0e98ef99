"""What people do with deployments, as functions over one Control: the API is a thin shell on them.

    context.py      Control: the store, and the other ports everything here stands on
    ports.py        what is asked of replicas and images
    deployments.py  apply, scale, restart, roll back, delete
    admission.py    what the host, its images, quotas and secrets have to say to a deployment
    preview.py      what an apply would do: the diff and the placement
    status.py       an entry and a look at the world → how a deployment stands                 pure
    capacity.py     the host: what is given to whom, cordon, drain
    access.py       quotas, secrets, tokens
    logs.py         the lines of several replicas as one stream
    history.py      its revisions, and the runs of a job
    metrics.py      Prometheus' text

May not import Flask or pydantic. Next: ``context.py``.
"""

from __future__ import annotations

from .context import Control
from .ports import Executed, ImageInfo, Images, LogLine, Replicas, Usage

__all__ = ["Control", "Executed", "ImageInfo", "Images", "LogLine", "Replicas", "Usage"]
