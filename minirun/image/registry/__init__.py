"""Registries: images from and to wherever the distribution-spec is spoken.

    settings      default registry, mirrors, insecure registries, patience                   pure
    endpoint      from a registry's name to where and how it is reached                      pure
    challenge     WWW-Authenticate, taken apart                                              pure
    platforms     which manifest of an index runs here                                       pure
    credentials   ``~/.docker/config.json`` and the credential helpers it names
    auth          basic and token authentication; a token per registry and scope
    connection    HTTP to one host: TLS, redirects
    transport     one call to a registry: authorized, repeated where that helps, errors in words
    repository    the distribution-spec's requests: manifests, blobs, uploads, tags, referrers
    remote        a repository, with its mirrors, as a ``Source`` of the store
    pull  push    images in, images out
    login  search  referrers

Bytes are trusted when their digest is right, whoever sent them. Nothing here prints: what happens
is told to a ``seen`` callback. Importing this package imports none of the modules.

See: distribution-spec spec.md; docs.docker.com/reference/api/registry/auth.
"""
