"""The pages: what runs, why, and a few buttons, made on the server and readable without a script.

    session.py    who looks, and whether a form is one of ours
    pages.py      the list, a deployment, what they link to                GET
    forms.py      scale, restart, pause, roll back, predict                POST
    live.py       events and logs, as they come
    history.py    the last minutes of every deployment, for the curves
    curves.py     a curve as SVG                                           pure
    facts.py      what the templates show, as people write it
    predict.py    one request through the gateway
    reference.py  /docs: the OpenAPI document, to read                     pure

Whatever comes from outside (names, labels, log lines, reasons) is text to a template and to the
script, never markup; the Content-Security-Policy lets nothing run that is not in ``static/``.

Next: ``pages.py``.
"""
