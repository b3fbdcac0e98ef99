"""How fast and how small minirun is beside docker, podman, runc and crun, on this machine, now.

    experiment   rows, contenders, alternating rounds     stats     median, percentiles, ratios
    catalogue    every experiment there is                report    table, Markdown, JSON
    engines      minirun, docker, podman                  chart     the picture
    runtimes     minirun-oci, runc, crun                  lab       the world it all happens in
    warm         the launcher, and docker's API           host      what machine this was

Run with ``make bench``; ``docs/benchmarks.md`` says how it measures. Never part of the test suite.
"""
