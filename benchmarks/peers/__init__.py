"""What other systems need for the searches that ours is measured against: one process a search, started by `benchmarks.searches`.

Every peer reads the same study file, so space, data, splits, epochs and seed are the study's; its networks are stock Keras, its
method, its loop and its bookkeeping are its own. `work` is what they share.
"""
