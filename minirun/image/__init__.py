"""Images: names, blobs, layers, and the store that keeps them.

    reference   what a person types: ``ubuntu``, ``host:5000/a/b:tag@sha256:…``              pure
    model       manifest, index and image config as Records; hostile JSON stops here         pure
    streams     hash, inflate and guard bytes while they flow
    tarstream   tar in, one entry at a time          tarwriter   tar out, reproducibly
    tree        directories inside a root, by file descriptor
    unpack      tar entries become an overlay lower directory; unpack_later  what has to wait
    pack        an overlay upper directory becomes tar entries
    changes     what a container added, changed and deleted
    layers      the four above joined: compressed blob in, directory out, and back
    store       the images of this host; writer adds to it, leases protect it from its own gc
    arrival     a blob fetched by one thread while another unpacks it; resumed after kill -9
    adopt       all layers of an image at once, from whatever ``source`` has them
    registry    pull, push, login, search: the distribution-spec over HTTP
    layout      OCI image layouts, as directory and tar          archive   ``docker save`` tars
    obtain      an image by name: the one that is here, else captured, else pulled
    sniff       which of all these a path is
    verify      every blob and file against its digest again
    usage       what images take, alone and together    gc   what nobody needs, taken away
    signature   who vouches for an image          signature_policy   who has to
    sbom        what is installed in an image
    dockerfile  a Dockerfile as instructions; ``dockerfile_*`` its words, forms and stages   pure
    build       instructions as an image; ``build_*`` one file for each of them, and its cache
    capture     this host's Python as a base image
    pack_app    a program, its model and its environment as an image

Importing this package imports none of them. Nothing here starts a process or enters a rootfs.
"""
