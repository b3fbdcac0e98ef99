"""What the command line can say about a build.

Next: ``build.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .build_secrets import Secret
from .model import NO_ANNOTATIONS, Annotations
from .obtain import Obtain


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one build; each has the meaning it has in Docker.

    Args:
        dockerfile: its path; None is ``Dockerfile`` in the context.
        tags: names for the image.
        build_args: values for ARG.
        labels: added to the image's labels.
        annotations: of the image's manifest, and of its descriptor.
        target: the stage to build; "" is the last.
        platform: as in ``linux/amd64``; "" is this host's.
        network: of RUN steps: ``host``, ``none`` or ``bridge``.
        no_cache: carry out every step.
        no_cache_stages: names of stages whose steps are carried out.
        cache_from: images whose steps are taken for done; see ``inline_cache``.
        inline_cache: write the keys of the steps into the image's history.
        squash: make one layer of those that are added.
        contexts: of ``--build-context``, by name.
        secrets: of ``--secret``, by id.
        agents: sockets of ssh agents, by id.
        obtain: how base images are come by; None pulls what is missing, silently.
    """

    dockerfile: Path | None = None
    tags: Sequence[str] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Annotations = NO_ANNOTATIONS
    target: str = ""
    platform: str = ""
    network: str = "host"
    no_cache: bool = False
    no_cache_stages: frozenset[str] = frozenset()
    cache_from: Sequence[str] = ()
    inline_cache: bool = False
    squash: bool = False
    contexts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    agents: Mapping[str, str] = field(default_factory=dict)
    obtain: Obtain | None = None
