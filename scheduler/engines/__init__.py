"""Where replicas run: this host.

    local       LocalRuntime: the runtime of ``../runtime.py`` on the containers of minirun
    starter     from an order to a container that was started
    replica     one of them, as it is kept in memory and on its container's label
    container   a template as the options of a container
    folder      the socket and the secrets of a replica, on a tmpfs of their own
    capacity    NUMA nodes, memory and devices, as what may be given to replicas
    watcher     one thread that hears of every exit
    prober      one thread that asks every probe; ``checks`` are its questions
    launcher    the process that forks for us, kept alive
    inside      logs, commands and use of a replica, for people
    afterlife   the logs of replicas that are gone
    ending      the end of all replicas of a scheduler

The scheduler's process has threads, so nothing here forks or enters a namespace.
"""
