"""The service.

The map, from the study file to the winner::

    studies/x.toml ─▶ spec ─▶ space ─▶ search ──ask──▶ Trial ─┐
                                ▲                             ▼
                                │               models + optimizers + data
                                │                             ▼
                                │                           solo        (yields Epoch values, in the child)
                                │                             ▼
                                └────────tell────────────── worker ──▶ store (SQL, the only truth)
                                                              ▲          ├─▶ track  (MLflow: a view)
                                                           devices       └─▶ review ─▶ cli

A `worker` is one device at work on one study; `devices` chooses the study, for every device of a host; `sweep` keeps the disk;
`cluster` has Ray choose the hosts.
Importing this package loads nothing else; `tuner.trial` holds the words.
"""
