"""The page: server-rendered, without a build step and without anything from elsewhere."""

from __future__ import annotations

from flask import Blueprint

bp = Blueprint("web", __name__)
