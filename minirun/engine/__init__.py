"""What a person does with containers: make one of an image, start it, end it.

    home      the two directories: data and state root
    images    what ``run IMAGE`` was given, as layers or a directory and a configuration
    create    options and image become a record, a spec and ``start.json``
    start     fork the shim, or ask the launcher to; talk to it
    run_step  run one command of a build

Here the rooms meet: ``container`` (pure decisions), ``image`` (layers), ``network`` and ``shim``.
The CLI and the launcher are thin over this package; it never prints.
"""
