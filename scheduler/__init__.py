"""The scheduler: a deployment goes in, balanced replicas come out.

It is a client of the runtime and knows it only by what ``minirun`` exports. Nothing under
``minirun/`` imports this package, so a host that runs single containers never needs it.
"""
