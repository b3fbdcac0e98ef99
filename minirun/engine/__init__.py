"""What a person does with containers: make one of an image, start it, end it.

Read in this order:

    home, images     the two directories; what ``run IMAGE`` was given, as layers or a directory
    create           options and image become a record, a spec and ``start.json``, with what facts,
                     remapping, foundation, keep and volumes find out for it
    preview          the same without doing it: the plan of ``explain``
    start, restart   fork the shim, or ask the launcher to; talk to it
    command          one more command inside         run_step   one command of a build
    stop, remove     end it, take it away            update     give it other limits
    status, select   what is true of it now; which ones are meant
    reconcile, prune                what a crash left; what nobody needs
    inspect, kernelview, usage      the record, the kernel's view, what it uses
    writable, copy, pack, export, commit   its files: as it sees them, out, in, as an image

Here the rooms meet: ``container`` (pure decisions), ``image`` (layers), ``network`` and ``shim``.
The CLI and the launcher are thin over this package; it never prints.
"""
