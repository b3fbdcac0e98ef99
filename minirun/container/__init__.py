"""Between the docker-like command line and the core: flags become a Spec, lives become files.

Read in this order:

    sizes, words, environment, mounts, devices, security   one parser per kind of flag        pure
    options     RunOptions: everything ``run`` and ``create`` take, and what contradicts what  pure
    flagtable   every flag of ``run`` and ``create``, one row each                            pure
    readflags   the command line's strings as RunOptions, by those rows
    users       USER and --user against the image's passwd and group                          pure
    command     entrypoint, cmd, env and health check, merged as docker merges them           pure
    limits      the resource flags as the specification's resources                           pure
    specify     all of the above as one Spec; specify_mounts, what is mounted in it           pure
    init        which program of this host --init mounts
    files, clock, entry, store, volumes, removal, events     records on disk
    logs, follow, logreader                                  docker's json-file format
    health, restart                                          two small state machines          pure

Nothing here makes a system call with an effect on a container: that begins in ``plan.py``.
May not import plan, runner, lifecycle or a command line.
"""
