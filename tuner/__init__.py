"""The service.

The map, from the study file to the winner::

    studies/x.toml ─▶ spec ─▶ space ─▶ search ──ask──▶ Trial ─┐
                                ▲                             ▼
                                │               models + optimizers + data
                                │                             ▼
                                │                  solo, abreast, lanes (yields Epoch values, in the child)
                                │                             ▼
                                └────────tell────────────── worker ──▶ store (SQL, the only truth)
                                                              ▲          ├─▶ track  (MLflow: a view)
                                                           devices       └─▶ review ─▶ cli

A study with several objectives searches for a `pareto` front; `costs` are those of a network where it is used.
When the search has ended, a `race` of its best follows, and a `final` score: stages of the study, with trials like any others.
A `worker` is one device at work on one study; `devices` chooses the study, for every device of a host; `sweep` keeps the disk;
`cluster` has Ray choose the hosts, `cgroup` knows what the kernel grants a process. `winner` loads the model that was scored,
`export` writes it for others. `failpoints` are where tests let a process die. `provenance` says where a result comes from, `toml`
writes its file.
Importing this package loads nothing else; `tuner.trial` holds the words.
"""
