"""Every act of a container start, one class each, in the order of the kernel's demands.

Read ``base.py`` first, then ``namespaces``, ``overlay``, ``rootfs``, ``mounts``, ``devices``,
``limits``, ``identity``, ``filters`` and ``handoff``. What few containers have is imported by the
plans that need it: ``idmapped``, ``joining``, ``resctrl``, ``priorities`` and ``hooks``. A step
imports ``kernel`` and facts; it may not import the plan, the runner or anything that knows about
containers as a whole.
"""
