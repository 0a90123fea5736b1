"""Learning from images of good parts; installed as ``edgead_training``.

    data/          data sets on disk, and how they are divided
    features/      what methods on the features of a frozen backbone share
    methods/       the methods, each a graph and the stages that train it
    evaluation/    what a bundle is measured with on a labelled test set
    run.py         ``train`` and ``load_run``: a run from its options to a trained model

Importing the package imports no torch.
"""
