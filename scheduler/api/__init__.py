"""The API under ``/v1``: one blueprint for each noun. Start with ``operation.py``."""
